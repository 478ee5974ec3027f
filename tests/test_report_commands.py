"""`report`, `check` and the table on the terminal, from results that were worked out beforehand."""

import json
import subprocess
import sys

import pytest
from leakage_cases import comparison

from persam_dreambooth.cli import main
from persam_dreambooth.leakage import summary
from persam_dreambooth.leakage.report import JSON_FILE
from persam_dreambooth.leakage.schema import SCHEMA
from persam_dreambooth.leakage.summary import summarise
from persam_dreambooth.leakage.table import aligned, table


def write_result(folder, **options):
    path = folder / JSON_FILE
    path.write_text(json.dumps(comparison(**options)))
    return path


def checked(capsys, path, *flags):
    """The exit code of `check` and what it printed."""
    try:
        main(["check", str(path), *flags])
    except SystemExit as stopped:
        code = stopped.code
    else:
        code = 0
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("options", "flags", "code", "states"),
    [
        ({"masked_leaks": 0}, ("--min_fidelity", "None"), 0, ["ok"]),
        ({"masked_leaks": 8, "plain_leaks": 8}, ("--min_fidelity", "None"), 1, ["breach"]),
        ({"masked_leaks": 3}, ("--min_fidelity", "None"), 2, ["undecided"]),
        ({"masked_leaks": 3}, ("--min_fidelity", "None", "--max_excess", "0.9"), 0, ["ok"]),
        ({"masked_leaks": 8}, ("--min_fidelity", "None", "--arm", "plain"), 1, ["breach"]),
        ({"masked": {"likeness": 0.7}}, ("--max_excess", "None"), 1, ["breach"]),
        ({"masked": {"likeness": 0.8}}, ("--max_excess", "None"), 0, ["ok"]),
        ({"masked": {"likeness": 0.7}}, (), 1, ["ok", "breach"]),
        ({"prompts": ("on a beach",)}, ("--min_fidelity", "None"), 2, ["undecided"]),
    ],
)
def test_exit_codes_for_ci(tmp_path, capsys, options, flags, code, states):
    path = write_result(tmp_path, **options)
    found, out, err = checked(capsys, path, *flags)
    assert [line.partition(":")[0] for line in out.splitlines()] == states
    assert (found, err) == (code, "")


def test_a_model_that_is_compared_with_no_other_is_checked_for_its_excess_alone(tmp_path, capsys):
    path = write_result(tmp_path, masked_leaks=8)
    code, out, err = checked(capsys, path, "--arm", "plain")
    assert (code, out) == (2, "")
    assert err == (
        f"error: --min_fidelity -0.05: plain is compared with no other model in {path}; likeness is held "
        "against that of another. Add --min_fidelity None, or compare with one more --model.\n"
    )
    result = json.loads(path.read_text())
    rows = [row for row in result["rows"] if row["arm"] in ("base", "masked")]
    path.write_text(json.dumps(summarise(rows, minus="masked")))
    assert checked(capsys, path)[0] == 2
    assert checked(capsys, path, "--min_fidelity", "None")[0] == 1
    path.write_text(json.dumps(summarise([row for row in rows if row["arm"] == "base"])))
    _, _, err = checked(capsys, path)
    assert err == f"error: {path}: no pictures of a trained model; at least one is needed. Compare again.\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--max_excess", "5"),
            "error: --max_excess 5.0: out of range; at least -1 and at most 1 is needed.",
        ),
        (("--max_excess", "nan"), "error: --max_excess nan: out of range"),
        (("--min_fidelity", "-5"), "error: --min_fidelity -5.0: out of range"),
        (("--max_excess", "None", "--min_fidelity", "None"), "error: --max_excess None: nothing to check"),
        (("--arm", "base"), "error: --arm base: no trained model of"),
    ],
)
def test_limits_that_say_nothing_are_refused(tmp_path, capsys, flags, said):
    code, out, err = checked(capsys, write_result(tmp_path, masked_leaks=0), *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(said)


def damaged(path, how):
    """Write what is left of a report."""
    text = path.read_text()
    result = json.loads(text)
    if how == "cut":
        path.write_text(text[: len(text) // 2])
    elif how == "empty":
        path.write_text("")
    elif how == "binary":
        path.write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "rows":
        path.write_text(json.dumps(result | {"rows": [{"arm": "plain"}]}))
    elif how == "arms":
        path.write_text(json.dumps(result | {"arms": {"masked": {}}}))
    else:
        del result[how]
        path.write_text(json.dumps(result))


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "is no JSON ("),
        ("empty", "is no JSON ("),
        ("binary", "is no JSON ("),
        ("folder", "a folder; the report.json of a comparison is needed."),
        ("schema", "schema None; 'persam-dreambooth-comparison/2' is needed."),
        ("arms", "arms.masked.num_pictures is missing or of another type; a whole report.json is needed"),
        ("rows", "rows.0.prompt is missing or of another type"),
        ("differences", "differences is missing or of another type"),
        ("inputs", "inputs is missing or of another type"),
    ],
)
def test_a_damaged_report_is_one_line_and_nothing_is_written(tmp_path, capsys, command, how, said):
    path = write_result(tmp_path)
    damaged(path, how)
    with pytest.raises(SystemExit) as stopped:
        main([command, str(path)])
    out, err = capsys.readouterr()
    assert (stopped.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {path}: {said}")
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("folder", "a folder; a file that ends in .html is needed. For example {}/report.html."),
        ("report.json", "no page by its name; a file that ends in .html is needed"),
        ("grid.png", "no page by its name"),
        ("report.json/page.html", "/report.json is a file; a folder is needed"),
    ],
)
def test_a_page_is_written_over_nothing_else(tmp_path, capsys, out, said):
    path = write_result(tmp_path)
    before = path.read_bytes()
    (tmp_path / "folder").mkdir()
    place = tmp_path / out
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(path), "--out", str(place)])
    err = capsys.readouterr().err
    assert (stopped.value.code, err.count("\n")) == (2, 1)
    assert said.format(place) in err
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"folder", "report.json"}


def test_check_and_report_load_no_model_library(tmp_path):
    """They read JSON and pictures: in CI they must answer at once."""
    lines = (
        "import sys",
        "from persam_dreambooth.cli import main",
        f"main(['check', {str(write_result(tmp_path, masked_leaks=0))!r}])",
        "import persam_dreambooth.leakage.report",
        "print([name for name in ('torch', 'diffusers', 'transformers', 'peft') if name in sys.modules])",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_report_that_cannot_be_checked_says_error(tmp_path, capsys):
    path = write_result(tmp_path)
    code, out, err = checked(capsys, path, "--arm", "maskd")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --arm maskd: no trained model of {path}; one of plain, masked is needed.")
    assert "Did you mean masked?" in err
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"schema": "persam-dreambooth-comparison/1"}))
    for command in ("check", "report"):
        with pytest.raises(SystemExit) as stopped:
            main([command, str(path)])
        line = capsys.readouterr().err
        assert (stopped.value.code, line.count("\n")) == (2, 1)
        assert "persam-dreambooth-comparison/1" in line
        assert line.startswith(f"error: {path}")
    code, _, err = checked(capsys, tmp_path / "nothing.json")
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'nothing.json'}")


def test_columns_stand_below_each_other():
    lines = aligned([["", "a", "wide"], ["first", "10 %", "1"], ["x", "–", "22"]]).splitlines()
    assert lines == ["           a   wide", "first   10 %      1", "x          –     22"]


def test_the_table_tells_arms_differences_and_the_claim():
    result = comparison(plain_leaks=8, masked_leaks=0)
    lines = table(result).splitlines()
    head, *arms = lines[:4]
    assert head.split()[:2] == ["pictures", "Attributed"]
    assert [line.split()[0] for line in arms] == ["base", "plain", "masked"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert "80 points [" in arms[1]
    assert any(line.startswith("masked minus plain: leaked −100 points [") for line in lines)
    assert f"masked leaks less than plain, at no loss: {result['claim']['verdict']}" in table(result)
    assert result["verdict"] in table(result)


def test_without_the_truth_its_columns_are_not_there():
    assert "judge" in table(comparison())
    assert "judge" not in table(comparison(truth=False))
    assert "note: careful" in table(comparison() | {"warnings": ["careful"]})


def test_what_is_written_is_what_is_read():
    assert summary.SCHEMA == SCHEMA
