"""The house: small files, a README with the two commands, settings that parse, the licence."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import persam_dreambooth
from persam_dreambooth.config import parse

ROOT = Path(__file__).parent.parent
MAX_LINES = 300
SOURCES = [
    path
    for folder in ("persam_dreambooth", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
] + [ROOT / "train_dreambooth.py"]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_files_are_small():
    assert not [path for path in SOURCES if len(path.read_text().splitlines()) > MAX_LINES]


def test_every_module_says_its_job():
    silent = [
        path
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_nothing_imports_torchvision():
    imports = re.compile(r"^\s*(import|from) torchvision", re.MULTILINE)
    assert not [path for path in SOURCES if imports.search(path.read_text())]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_parses_and_starts_with_its_command(path):
    assert parse(["--config", str(path)])
    first = path.read_text().splitlines()[0]
    assert first.startswith("# accelerate launch train_dreambooth.py ")
    assert f"--config configs/{path.name}" in first
    command = first.split("train_dreambooth.py ")[1].replace("configs/", f"{ROOT}/configs/")
    assert parse(command.split())


def test_readme_names_the_two_commands():
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README in this copy")
    text = readme.read_text()
    assert "make demo" in text
    assert "make test" in text
    assert "accelerate launch train_dreambooth.py --use-persam" in text


def test_the_project_file_agrees_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "persam-dreambooth"
    assert project["requires-python"] == ">=3.11"
    assert re.fullmatch(r"\d+\.\d+\.\d+", persam_dreambooth.__version__)
    pinned = {
        line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert not {re.split(r"[<>=]", name)[0] for name in wanted} - pinned
    assert "Apache License" in (ROOT / "LICENSE").read_text()
