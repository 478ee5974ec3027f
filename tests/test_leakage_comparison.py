"""The comparison: numbers worked by hand, intervals that behave, arms that must be paired."""

import json
from pathlib import Path

import numpy as np
import pytest
from leakage_cases import PROMPTS, SEEDS, arm, comparison, disc, leaked, photos, place, row, with_subject
from PIL import Image

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.comparison import Options, check_pairs, compare, no_larger
from persam_dreambooth.leakage.pictures import Picture, read_pictures
from persam_dreambooth.leakage.summary import summarise

TRAINING = 100
DECOYS = [place(number) for number in range(12)]


def test_means_by_hand():
    result = comparison(plain_leaks=6, masked_leaks=1)
    plain, masked = result["arms"]["plain"], result["arms"]["masked"]
    assert plain["leak"]["mean"] == 6 / 8
    assert plain["agreement"]["mean"] == 2 / 8
    assert masked["leak"]["mean"] == 1 / 8
    assert plain["attribution"]["mean"] == pytest.approx((6 * 0.85 + 2 * 0.05) / 8)
    assert plain["excess"]["mean"] == pytest.approx(6 * 0.8 / 8)
    assert plain["num_pictures"] == plain["leak"]["n"] == 8
    assert "excess" not in result["arms"]["base"]
    (found,) = result["differences"]
    assert (found["arm"], found["minus"]) == ("masked", "plain")
    assert found["leak"]["mean"] == pytest.approx(-5 / 8)
    assert found["likeness"] == {"mean": 0, "low": 0, "high": 0, "n": 8, "p": 1, "p_two_sided": 1}
    assert found["relative_reduction"]["mean"] == pytest.approx(5 / 6)


def test_what_cannot_be_told_is_left_out_of_its_share_only():
    rows = [
        row("plain", "bare", 0, leak=None, agreement=None, trait_likeness=0.4),
        row("plain", "on a beach", 0, **leaked(trait_likeness=0.6)),
        row("plain", "in the snow", 0),
    ]
    plain = summarise(rows)["arms"]["plain"]
    assert plain["leak"]["mean"] == 0.5
    assert plain["leak"]["n"] == 2
    assert plain["trait_likeness"]["mean"] == pytest.approx(0.6)
    assert plain["trait_likeness"]["n"] == 3


def test_a_missing_subject_counts():
    rows = [
        row("plain", "a", 0, subject=False, likeness=0.0, subject_found=False, missing=True),
        row("plain", "a", 1),
    ]
    plain = summarise(rows)["arms"]["plain"]
    assert plain["likeness"]["mean"] == pytest.approx(0.4)
    assert plain["subject"]["mean"] == 0.5
    assert plain["subject_missing"] == 1
    assert plain["missing"]["mean"] == 0.5


def test_the_order_of_the_rows_does_not_matter_and_nothing_is_random():
    result = comparison(masked_leaks=2)
    again = summarise([dict(one) for one in result["rows"]], chance=0.05)
    assert again == result
    base_last = sorted(result["rows"], key=lambda one: one["arm"], reverse=True)
    assert summarise([dict(one) for one in base_last])["arms"]["plain"]["leak"]["mean"] == 0.75


def backgrounds(number, leaks=0):
    """Return a background for every prompt and seed, of which so many show the photos' place."""
    keys = [(prompt, seed) for seed in SEEDS for prompt in PROMPTS]
    return {
        key: place(TRAINING, 60 + order) if order < leaks else place(number + order % 4, order)
        for order, key in enumerate(keys)
    }


@pytest.fixture(scope="module")
def truthless():
    arms = {
        "base": arm(backgrounds(210)),
        "plain": arm(backgrounds(210, leaks=8)),
        "masked": arm(backgrounds(210, leaks=1)),
    }
    return compare(
        arms,
        photos=photos(TRAINING),
        decoys=DECOYS,
        find_subject=lambda _: disc(),
        options=Options(num_banks=8, move_rims=True),
    )


def test_planted_leaks_come_out_in_order_without_truth(truthless):
    arms = truthless["arms"]
    room = 1 - arms["base"]["attribution"]["mean"]
    assert room > 0.6
    for excess in ("excess", "excess_common", "excess_wider", "excess_narrower"):
        assert arms["plain"][excess]["mean"] == pytest.approx(room, abs=0.15)
        assert arms["masked"][excess]["mean"] == pytest.approx(1 / 8 * room, abs=0.15)
    (found,) = truthless["differences"]
    assert found["excess"]["high"] < 0
    assert found["relative_reduction"]["mean"] == pytest.approx(7 / 8, abs=0.1)
    assert truthless["config"]["decoys"]["chance"] == pytest.approx(1 / 9)
    assert arms["plain"]["copy_rate"]["mean"] > 0.5 > 0.3 > arms["masked"]["copy_rate"]["mean"]


def test_hits_lead_to_the_photos(truthless):
    rows = [one for one in truthless["rows"] if one["arm"] == "plain"]
    for one in rows:
        assert len(one["hits"]) == round(one["attribution"] * one["num_background_cells"])
        assert len(one["subject_cells"]) == 256
        assert one["subject_cells"].count("0") == one["num_background_cells"]
        assert all(one["subject_cells"][16 * hit[0] + hit[1]] == "0" for hit in one["hits"])
        assert {hit[2] for hit in one["hits"]} <= {0, 1, 2}
    assert [photo["grid"] for photo in truthless["inputs"]["photos"]] == [[16, 16]] * 3
    assert min(photo["own_attribution"] for photo in truthless["inputs"]["photos"]) > 0.9


def test_equal_pictures_give_equal_numbers(truthless):
    """Base and masked share the pictures that do not leak: their rows agree to the last digit."""
    rows = {(one["arm"], one["prompt"], one["seed"]): one for one in truthless["rows"]}
    prompt, seed = PROMPTS[-1], SEEDS[-1]
    base, masked = (rows[name, prompt, seed] for name in ("base", "masked"))
    for key in ("attribution", "copy_rate", "style_shift", "max_cosine", "likeness_raw", "hits"):
        assert base[key] == masked[key]
    assert masked["excess"] == masked["excess_common"] == 0.0


def test_the_same_subject_everywhere_has_no_scale(truthless):
    """The base model draws the photos' own red disc: nothing tells the subject from its class."""
    assert all(one["likeness"] is None for one in truthless["rows"])
    assert any("cannot tell the subject" in warning for warning in truthless["warnings"])


def test_without_truth_nothing_pretends_to_know_it(truthless):
    assert truthless["truth"] is None
    for name in ("leak", "agreement", "trait_likeness", "subject"):
        assert all(name not in found for found in truthless["arms"].values())
        assert all(name not in one for one in truthless["rows"])


def test_json_holds_all_of_it(truthless):
    assert json.loads(json.dumps(truthless, allow_nan=False)) == truthless


@pytest.fixture(scope="module")
def families():
    """Return a comparison with all prompt families and a checkpoint, of few pictures."""

    def drawn(family, name, pixels, step=None):
        return Picture(f"{family} {name}", None, 0, pixels, family, step)

    def pictures(green_class, missing=False):
        colour = [30, 200, 40] if green_class else [210, 30, 40]
        bare = np.where(disc()[..., None], np.array(colour, np.uint8), place(0, 40))
        own = place(1, 41) if missing else with_subject(place(1, 41))
        return [
            *(drawn("recontext", name, bare if name else own) for name in range(3)),
            drawn("class", 0, bare),
            drawn("none", 0, place(TRAINING, 70)),
        ]

    arms = {"base": pictures(green_class=True), "plain": pictures(green_class=False, missing=True)}
    arms["plain"].append(drawn("recontext", 0, with_subject(place(TRAINING, 71)), step=100))

    def find(pixels):
        return None if np.array_equal(pixels, place(1, 41)) else disc()

    asked = []

    def scenes(shown, masks):
        asked.extend(zip(shown, masks, strict=True))
        return [True] * len(shown)

    result = compare(
        arms,
        photos=photos(TRAINING, 2),
        decoys=DECOYS[:4],
        find_subject=find,
        adherence=scenes,
        options=Options(num_banks=4),
    )
    return result, asked


def rows_of(result, **wanted):
    return [one for one in result["rows"] if all(one[key] == value for key, value in wanted.items())]


def test_a_missing_subject_has_the_base_models_likeness_and_its_whole_picture_counts(families):
    (missing,) = rows_of(families[0], arm="plain", prompt="recontext 0", step=None)
    assert (missing["subject_found"], missing["missing"]) == (False, True)
    assert (missing["likeness"], missing["likeness_raw"], missing["likeness_found"]) == (0.0, None, None)
    assert (missing["num_background_cells"], missing["subject_cells"]) == (256, None)
    arms = families[0]["arms"]
    assert arms["plain"]["subject_missing"] == 1
    assert arms["plain"]["likeness"]["n"] == 3
    assert arms["plain"]["likeness_found"]["n"] == 2


def test_a_class_that_turns_into_the_subject_is_contaminated(families):
    result, _ = families
    (base,), (plain,) = (rows_of(result, arm=name, family="class") for name in ("base", "plain"))
    assert base["contamination"] == pytest.approx(0.0)
    assert plain["contamination"] == pytest.approx(1.0, abs=0.2)
    assert base["likeness"] is None
    assert result["families"]["class"]["plain"]["contamination"]["mean"] == plain["contamination"]


def test_a_place_alone_has_no_subject_to_find_or_miss(families):
    (place_alone,) = rows_of(families[0], arm="plain", family="none")
    assert (place_alone["missing"], place_alone["likeness"], place_alone["subject_found"]) == (
        None,
        None,
        False,
    )
    assert place_alone["attribution"] > 0.8
    assert place_alone["excess"] == 0.0


def test_checkpoints_are_points_of_the_path_and_not_of_the_headline(families):
    result, asked = families
    (early,) = rows_of(result, step=100)
    assert early["excess"] > 0.5
    assert result["arms"]["plain"]["excess"]["mean"] < 0.3
    assert [(point["arm"], point["step"]) for point in result["pareto"]] == [
        ("base", None),
        ("plain", 100),
        ("plain", None),
    ]
    # Scenes are asked of finished models' pictures of the subject in another place, with their masks.
    assert len(asked) == 6
    assert all(one.family == "recontext" and one.step is None for one, _ in asked)
    assert [mask is None for _, mask in asked].count(True) == 1


def test_one_photo_is_told():
    arms = {"base": arm(dict(list(backgrounds(210).items())[:1]))}
    result = compare(
        arms,
        photos=photos(TRAINING, 1),
        decoys=DECOYS[:2],
        find_subject=lambda _: disc(),
        options=Options(num_banks=2),
    )
    assert result["warnings"][0].startswith("one photo: how leak-prone it is cannot be told")
    assert result["inputs"]["photos"] == [{"own_attribution": None, "grid": [16, 16]}]
    assert result["claim"] is None
    assert result["verdict"].startswith("No verdict")


def test_photos_are_shrunk_to_the_pictures_size_with_their_masks():
    pixels, mask = photos(TRAINING, 1)[0]
    small, covered = no_larger((pixels, mask), 32)
    assert small.shape == (32, 32, 3)
    assert covered.mean() == pytest.approx(mask.mean(), abs=0.02)
    assert no_larger((pixels, mask), 128)[0] is pixels
    speck = np.zeros_like(mask)
    speck[5, 5] = True
    assert no_larger((pixels, speck), 32)[1].sum() == 1
    wide = np.zeros((60, 90), bool)
    assert no_larger((np.zeros((60, 90, 3), np.uint8), wide), 30)[1].shape == (30, 45)


def picture(prompt, seed, step=None):
    return Picture(prompt, None, seed, place(0), step=step)


def test_arms_must_be_paired():
    full = [picture("a", 0), picture("b", 0)]
    with pytest.raises(UserError, match=r"^arm plain: no picture of 'b' with seed 0; every arm needs"):
        check_pairs({"base": full, "plain": full[:1]})
    with pytest.raises(UserError, match=r"^arm base: no picture of 'b' with seed 0"):
        check_pairs({"base": full[:1], "plain": full})
    with pytest.raises(UserError, match=r"^arm base: two pictures of 'a' with seed 0"):
        check_pairs({"base": [picture("a", 0), picture("a", 0)]})
    with pytest.raises(
        UserError, match=r"^arm base: no picture of 'b' with seed 0, which arm x has at step 5;"
    ):
        check_pairs({"base": full[:1], "x": [full[0], picture("b", 0, step=5)]})
    check_pairs({"base": full, "x": [*full, picture("b", 0, step=5)]})
    with pytest.raises(UserError, match="at least one picture"):
        check_pairs({"base": []})


def test_pictures_are_read_with_what_was_asked(tmp_path):
    Image.fromarray(place(1)).save(tmp_path / "00_3.png")

    class Drawn:
        prompt: str = "a cat on a beach"
        seed: int = 3
        path: Path = tmp_path / "00_3.png"

    (found,) = read_pictures([Drawn()], {"a cat on a beach": "beach"})
    assert (found.key, found.background) == (("a cat on a beach", 3), "beach")
    assert np.array_equal(found.pixels, place(1))
    assert read_pictures([Drawn()])[0].background is None
