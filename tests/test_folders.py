"""Folders that are whole or not there."""

import pytest

from persam_dreambooth.diffusion.folders import atomic_folder


def fill(path, text):
    with atomic_folder(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(text)
        assert not (path / "inner" / "file").exists() or (path / "inner" / "file").read_text() != text


def fail(path):
    with atomic_folder(path) as folder:
        (folder / "half").write_text("x")
        raise OSError("disk full")


def test_a_folder_appears_whole_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "result"
    fill(path, "one")
    (path / "stray").write_text("x")
    fill(path, "two")
    assert (path / "inner" / "file").read_text() == "two"
    assert not (path / "stray").exists()
    assert [entry.name for entry in path.parent.iterdir()] == ["result"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "result"
    fill(path, "one")
    with pytest.raises(OSError, match="disk full"):
        fail(path)
    assert (path / "inner" / "file").read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]
