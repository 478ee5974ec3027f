"""Folders that are whole or not there."""

import os

import pytest

from persam_dreambooth.diffusion.folders import atomic_folder, atomic_parts


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


def fill_parts(folder, text):
    with atomic_parts(folder, "index.json") as new:
        for name in ("unet", "vae"):
            (new / name).mkdir()
            (new / name / "weights").write_text(text)
        (new / "index.json").write_text(text)


def texts(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_parts_replace_those_of_their_names_and_nothing_else(tmp_path):
    fill_parts(tmp_path, "one")
    (tmp_path / "log").write_text("mine")
    (tmp_path / "unet" / "stray").write_text("of an earlier run")
    fill_parts(tmp_path, "two")
    new = dict.fromkeys(("index.json", "unet/weights", "vae/weights"), "two")
    assert texts(tmp_path) == {**new, "log": "mine"}


def test_an_error_while_parts_are_made_leaves_the_old_ones(tmp_path):
    fill_parts(tmp_path, "one")
    before = texts(tmp_path)
    with pytest.raises(TypeError):
        fill_parts(tmp_path, 3)
    assert texts(tmp_path) == before


def test_there_is_an_index_only_where_all_parts_belong_together(tmp_path, monkeypatch):
    fill_parts(tmp_path, "one")
    seen, replace = [], os.replace

    def watched(source, target):
        replace(source, target)
        found = texts(tmp_path)
        if "index.json" in found:
            seen.append({value for name, value in found.items() if not name.startswith(".")})

    monkeypatch.setattr(os, "replace", watched)
    fill_parts(tmp_path, "two")
    # After the last of the moves, and not before.
    assert seen == [{"two"}]
