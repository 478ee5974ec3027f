"""How measures are held against the truth: agreements worked by hand, and what is drawn of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import validation_curves
from measure_truth import _place, agreement, arm_means, measured, table, with_excess
from truth_pictures import PANEL, Panel, auc_chart, disagreements, scatter_sheet
from validation_curves import curves, tables


def row(arm, prompt, leak, excess, probability=None, seed=0, run="one"):
    return {
        "run": run,
        "arm": arm,
        "prompt": prompt,
        "seed": seed,
        "background": prompt,
        "predicted_background": "room" if leak else prompt,
        "leak": leak,
        "agreement": None if leak is None else not leak,
        "attribution": excess + 0.05,
        "excess": None if arm == "base" else excess,
        **({} if probability is None else {"probability": probability}),
    }


ROWS = [
    row("base", "snow", False, 0.0),
    row("plain", "snow", True, 0.6, 0.9),
    row("plain", "snow", False, 0.1, 0.2, seed=1),
    row("plain", "city", True, 0.3, 0.8),
    row("masked", "city", False, 0.4, 0.4),
    row("masked", "snow", False, 0.0, 0.0),
    row("masked", "room", None, 0.9, 0.9),
]


def test_agreement_by_hand():
    told = agreement(ROWS, "excess")
    assert (told["pictures"], told["leaked"]) == (5, 2)
    # 0.6 is above 0.1, 0.4 and 0; 0.3 is above 0.1 and 0 but not above 0.4.
    assert told["auc"] == pytest.approx(5 / 6)
    # In snow both pairs are right, in the city the one pair is wrong.
    assert told["auc_within_prompt"] == pytest.approx(2 / 3)
    # Ranks of the excess 4 1 2 3 0 against those of the probability 4 1 3 2 0.
    assert told["rho"] == pytest.approx(1 - 6 * 2 / (5 * 24))


def test_without_probabilities_or_leaks_there_is_less_to_tell():
    rows = [{key: value for key, value in one.items() if key != "probability"} for one in ROWS]
    assert agreement(rows, "excess")["rho"] is None
    assert agreement([one for one in ROWS if not one["leak"]], "excess")["auc"] is None
    assert agreement(ROWS, "style_shift")["pictures"] == 0


def test_arms_are_compared_by_their_means():
    shares, means = arm_means(ROWS, "excess")
    assert shares == pytest.approx([0, 2 / 3])
    assert means == pytest.approx([0.2, 1 / 3])


def test_places_are_read_from_the_end_of_prompts():
    assert _place("a photo of sks cat on a beach") == "beach"
    assert _place("a photo of sks cat in a street at night") == "night"
    assert _place("a photo of sks cat") is None


def test_the_excess_is_over_the_base_picture():
    assert with_excess(ROWS[1], 0.05)["excess"] == pytest.approx(0.6)
    assert with_excess(ROWS[1], None)["excess"] is None
    assert with_excess(ROWS[0], 0.05)["excess"] is None


def test_the_table_tells_what_is_known():
    text = table({"ct": measured(ROWS)})
    assert "| ct | excess | 0.83 | 0.67 | 0.83 | 0.90 | – |" in text
    assert "style_shift" not in text


def test_drawings_have_their_sizes_and_show_their_dots(tmp_path):
    found = {"ct": measured(ROWS), "sam": measured(ROWS)}
    chart = np.asarray(auc_chart(found, ("attribution", "excess")))
    assert (chart == (213, 94, 0)).all(axis=2).any()
    assert scatter_sheet({"ct": ROWS, "sam": ROWS}).size == (2 * PANEL[0], PANEL[1])
    path = tmp_path / "p.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
    paths = {(one["run"], one["arm"], one["prompt"], one["seed"]): path for one in ROWS}
    sheet = np.asarray(disagreements({"ct": ROWS}, paths).convert("RGB"))
    assert (np.abs(sheet.astype(int) - (1, 2, 3)).max(axis=2) < 3).sum() > 5 * 100**2


def test_a_panel_puts_points_between_its_axes():
    panel = Panel("", x=([0, 1], ""), y=([0, 2], ""), size=(184, 192))
    assert panel.at(0, 0) == (2 * 64, 2 * 140)
    assert panel.at(1, 2) == (2 * 164, 2 * 40)
    assert panel.at(0.5, 1) == (2 * 114, 2 * 90)
    assert panel.at(9, -9) == panel.at(1, 0)


def record():
    rows = [{"mode": "base", "level": 0.0, "attribution": value} for value in (0.02, 0.04)]
    rows += [{"mode": "paste", "level": level, "attribution": level} for level in (0.5, 0.1, 0.5)]
    response = {"rho": 0.9, "ranking": 1.0, "smallest_share": 0.1}
    response["levels"] = {"0.1": {"mean": 0.08, "power": 0.5}, "0.5": {"mean": 0.4, "power": None}}
    told = {
        "base": 0.03,
        "modes": {"paste": response},
        "false_alarms": {"benign": {"rate": 0.1, "count": 1, "tests": 10}, "look_alike": None},
        "harmless": {"again": {"change": -0.01, "low": -0.02, "high": 0.03}},
    }
    scores = dict.fromkeys(("attribution", "copy_rate", "style_shift", "max_cosine"), told)
    return {
        "rows": rows,
        "scores": scores,
        "levels": [0.1, 0.5],
        "banks": {"chance": 0.05},
        "features": {"name": "ct"},
        "data": "drawn",
    }


def test_curves_begin_where_nothing_leaks():
    assert np.array(curves(record(), "paste")) == pytest.approx(np.array([(0, 0.03), (0.1, 0.1), (0.5, 0.5)]))
    assert np.array(curves(record(), "scene")) == pytest.approx(np.array([(0, 0.03)]))


def test_tables_say_from_where_leaks_are_found():
    text = tables([("toy, ct", record())])
    assert "| toy, ct | attribution | 0.90 | – | – | – | 0.1, –, –, – | 1/10 | – |" in text
    # Those of docs/leakage_validation.md, column by column.
    assert "| features | mode | mean at 0 | mean at 0.1 | mean at 0.5 | power at 0.1, 0.5 |" in text
    assert "| toy, ct | paste | 0.030 | 0.080 | 0.400 | 0.50, – |" in text
    assert "| features | again | benign | look_alike | subject | bad_mask |" in text
    assert "| toy, ct | -0.010 [-0.020, +0.030] | – | – | – | – |" in text


def test_the_script_draws_records(tmp_path, monkeypatch, capsys):
    (tmp_path / "validation.json").write_text(json.dumps(record()))
    out = tmp_path / "new" / "curves.png"
    flags = ["--records", str(tmp_path / "validation.json"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["validation_curves.py", *flags])
    validation_curves.main()
    assert capsys.readouterr().out.strip().endswith(str(out))
    with Image.open(out) as picture:
        assert picture.size == (460, 360)
