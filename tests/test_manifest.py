"""Manifests as people save them: wrong encodings, no tables, numbers that are none."""

import pytest

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.manifest import read_entries


@pytest.mark.parametrize("content", ["arm,\u00e9".encode("latin-1"), b"arm,file\n" + 200_000 * b"x"])
def test_a_table_that_cannot_be_read(tmp_path, content):
    """Saved by a spreadsheet in another encoding; no table at all."""
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^--manifest .*m.csv: no CSV in UTF-8 \(.*\); .* Save it again"):
        read_entries(tmp_path, path)


@pytest.mark.parametrize("value", ["1.5", "true", '"1.0"'])
def test_a_seed_is_a_whole_number(tmp_path, value):
    path = tmp_path / "m.json"
    path.write_text(f'[{{"arm": "a", "file": "b", "prompt": "c", "seed": {value}}}]')
    with pytest.raises(UserError, match=r"picture 1: seed .*; a whole number is needed"):
        read_entries(tmp_path, path)
