"""`report`, `check` and the table on the terminal, from results that were worked out beforehand."""

import json

import pytest
from leakage_cases import comparison

from persam_dreambooth.cli import main
from persam_dreambooth.leakage.report import JSON_FILE
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


def test_a_report_that_cannot_be_checked_says_error(tmp_path, capsys):
    path = write_result(tmp_path)
    code, out, err = checked(capsys, path, "--arm", "maskd")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --arm maskd: not in {path}; one of base, plain, masked is needed.")
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
