"""What the README says can be typed: its flags exist, its paths exist, its Python runs."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from persam_dreambooth import cli
from persam_dreambooth.config import flag_types, parse
from persam_dreambooth.settings.comparison import DrawingChoice, Material, ModelChoice

RECORDS = (ModelChoice, Material, DrawingChoice)

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [text for kind, text in fenced if kind == language]


def test_every_flag_exists():
    commands = (
        *(cli.segment, cli.export_masks, cli.verify_export, cli.evaluate_masks),
        *(cli.generate, cli.demo, cli.certify, cli.canary),
    )
    of_commands = {name for command in commands for name in inspect.signature(command).parameters}
    # Flags that several commands share stand in records.
    of_commands |= {item.name for record in RECORDS for item in dataclasses.fields(record)}
    known = {*flag_types(), *of_commands, "config", "help"}
    named = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z_-]+)", TEXT)}
    assert not named - known
    assert {"use_persam", "reference_mask", "instance_data_dir", "outside_prior_weight"} <= named


def test_the_worked_example_parses(monkeypatch):
    monkeypatch.chdir(ROOT)
    (command,) = [block for block in blocks("sh") if "accelerate launch train_dreambooth.py" in block]
    words = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s\\]+)', command)]
    config = parse(words[words.index("train_dreambooth.py") + 1 :])
    assert config.masks.wanted
    assert config.train.use_lora
    assert config.model.sam == "facebook/sam-vit-huge"
    assert "sks backpack" in config.validation.validation_prompt


def test_every_file_of_the_tree_exists():
    (tree,) = [block for block in blocks("") if block.startswith("train_dreambooth.py")]
    folder = ""
    for line in tree.splitlines():
        indent, names = len(line) - len(line.lstrip()), re.split(r"\s{2,}", line.strip())[0].split()
        if not indent:
            folder = ""
        missing = [name for name in names if not (ROOT / folder / name).exists()]
        assert not missing, line
        if not indent and names == ["persam_dreambooth/"]:
            folder = names[0]


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http|docs/images)[^)]+)\)", TEXT))
def test_every_link_into_the_project_exists(link):
    assert (ROOT / link).exists()


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (code,) = blocks("python")
    assert '"output/masks"' in code
    exec(code.replace('"output/masks"', repr(str(tmp_path / "masks"))), {})
    printed = capsys.readouterr().out
    assert "'00': ('given', None, (256, 256))" in printed
    assert re.search(r"'04': \('persam_f', 0\.\d+, \(256, 256\)\)", printed)
    assert (tmp_path / "masks" / "masks.html").is_file()
