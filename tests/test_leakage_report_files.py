"""What a report writes and reads: its JSON, its pictures, the page made again, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from leakage_cases import PROMPTS, comparison
from PIL import Image
from report_cases import CELL, Page, full_result, write

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.report import posters, re_render, read_report, thumbnails
from persam_dreambooth.leakage.report.matches import nearest
from persam_dreambooth.leakage.report.material import Material, Shot, leak_rate, shots
from persam_dreambooth.photos import read_mask


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a report whose pictures lie beside it."""
    folder = tmp_path_factory.mktemp("written")
    write(full_result(), folder, with_files=True)
    return folder


def test_the_json_holds_the_result_and_where_its_files_are(written):
    told = read_report(written / "report.json")
    result = full_result()
    assert told["schema"] == "persam-dreambooth-comparison/2"
    assert told["settings"] == {"steps": 200, "model": "toy"}
    assert told["commands"] == ["train --x 'a & b'"]
    assert told["training"] == result["training"]
    first = told["inputs"]["photos"][0]
    assert (first["file"], first["mask"]) == ("photos/00.png", "report_masks/00.png")
    assert (first["own_attribution"], first["mask_source"]) == (0.62, "given")
    assert read_mask(written / first["mask"], (128, 128)).mean() == pytest.approx(first["area_fraction"])
    assert told["rows"][0]["picture"] == "pictures/base/00_0.png"
    for own, row in zip(told["rows"], result["rows"], strict=True):
        assert own == row | {"picture": own["picture"]}
        assert (written / own["picture"]).is_file()


def test_losses_join_what_is_known_of_the_trainings(tmp_path):
    result = comparison()
    result["training"] = {"plain": {"background_influence": 0.3}}
    write(result, tmp_path, losses={"plain": [(1, 0.5)], "masked": [(1, 0.7)]})
    told = read_report(tmp_path / "report.json")["training"]
    assert told["plain"] == {"background_influence": 0.3, "losses": [[1, 0.5]]}
    assert told["masked"] == {"losses": [[1, 0.7]]}


def test_a_page_made_again_is_the_same_wherever_the_folder_went(written, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(written, moved)
    first = (written / "report.html").read_bytes()
    (moved / "report.html").unlink()
    assert re_render(moved / "report.json") == moved / "report.html"
    assert (moved / "report.html").read_bytes() == first
    other = re_render(moved / "report.json", tmp_path / "new" / "page.html")
    assert other.read_bytes() == first
    assert (tmp_path / "new" / "grid.png").read_bytes() == (written / "grid.png").read_bytes()


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("pictures/plain/01_1.png", "plain, 'in the snow', seed 1"),
        ("photos/01.png", "a photo"),
        ("report_masks/00.png", "a mask"),
    ],
)
def test_a_missing_file_is_named(written, tmp_path, file, what):
    shutil.copytree(written, tmp_path / "copy")
    (tmp_path / "copy" / file).unlink()
    with pytest.raises(
        UserError, match=rf"{file}: no such file; .*report.json names it for {what}. Put it back"
    ):
        re_render(tmp_path / "copy" / "report.json")


def test_a_report_without_picture_files_cannot_be_made_again(tmp_path):
    write(comparison(), tmp_path)
    with pytest.raises(
        UserError, match=r"report.json: no file is named for base, 'on a beach', seed 0; a page needs"
    ):
        re_render(tmp_path / "report.json")


def test_what_is_no_report_is_refused(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(
        UserError, match=r"report.json: no such file; the report.json of a comparison is needed"
    ):
        read_report(path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"report.json: is no JSON \(.*\); the report.json of a comparison"):
        read_report(path)
    path.write_text("[1]")
    with pytest.raises(UserError, match="schema None; 'persam-dreambooth-comparison/2' is needed"):
        read_report(path)
    path.write_text(json.dumps({"schema": "persam-dreambooth-comparison/1"}))
    with pytest.raises(
        UserError, match=r"schema 'persam-dreambooth-comparison/1'; .* Run the comparison again"
    ):
        read_report(path)


def test_the_grid_picture_has_a_column_an_arm_and_only_the_first_seed(written):
    with Image.open(written / "grid.png") as image:
        assert image.mode == "RGB"
        pixels = np.asarray(image).astype(int)
    assert (pixels[0, 0] == 255).all()
    assert pixels.shape[1] == 2 * posters.MARGIN + 3 * (posters.TILE + posters.GAP) - posters.GAP
    # The first seed's pictures have no leaked patch in this case: nothing is yellow.
    assert not (np.abs(pixels - (255, 214, 10)).sum(axis=-1) < 6).any()


def test_the_grid_picture_starts_with_what_leaks_most():
    result = full_result()
    pixels = np.zeros((8, 8, 3), np.uint8)
    own = [Shot(row["arm"], row["prompt"], row["seed"], row, pixels) for row in result["rows"]]
    assert posters._worst(own) == [PROMPTS[number] for number in (3, 0, 1, 2)]


def test_leaked_patches_are_outlined_in_the_grid_picture():
    row = {"hits": [[2, 3, 0, 0, 0, 0.9, 0.8, 0]], "grid": [16, 16]}
    shot = Shot("plain", "x", 0, row, np.zeros((128, 128, 3), np.uint8))
    drawn = np.asarray(posters._with_hits(shot)).astype(int)
    yellow = np.argwhere((drawn == (255, 214, 10)).all(axis=-1))
    side = posters.TILE / 16
    assert yellow.min(axis=0) == pytest.approx([2 * side, 3 * side], abs=2)
    assert yellow.max(axis=0) == pytest.approx([3 * side, 4 * side], abs=2)
    assert not (drawn[round(2.5 * side), round(3.5 * side)]).any()


def test_the_bars_picture_draws_the_means(written):
    with Image.open(written / "bars.png") as image:
        pixels = np.asarray(image).astype(int)
    assert (pixels[0, 0] == 255).all()
    # "leaked" is the first panel: base 0, plain 0.75, masked 0 of its width.
    pale = tuple(round(0.25 * part + 0.75 * 255) for part in (201, 87, 0))
    bar = np.argwhere(np.abs(pixels - pale).sum(axis=-1) < 6)
    first = bar[(bar[:, 1] < posters.MARGIN + posters.PANEL[0]) & (bar[:, 0] < bar[0, 0] + 10)]
    assert np.ptp(first[:, 1]) == pytest.approx(0.75 * posters.PANEL[0], abs=4)


def test_pictures_need_no_letters_that_the_font_lacks():
    assert posters.plainer("−5 % → “sks” café 猫 – x") == "-5 % to ?sks? cafe ? - x"


def test_no_pictures_no_grid_and_no_measures_no_bars():
    result = comparison()
    assert posters.grid_poster(result, Material([], {})) is None
    assert posters.bars_poster({"arms": {}, "verdict": "", "rows": []}) is None


def test_pictures_fit_their_budget():
    noise = np.random.default_rng(0).integers(0, 256, (4, 400, 300, 3), dtype=np.uint8)
    roomy = thumbnails.picture_urls(list(noise))
    assert {size for _, size in roomy} == {(288, 384)}
    tight = thumbnails.picture_urls(list(noise), budget=sum(len(url) for url, _ in roomy) // 3)
    assert max(size[1] for _, size in tight) in thumbnails.PICTURE_SIDES[1:]
    assert sum(len(url) for url, _ in tight) <= sum(len(url) for url, _ in roomy) // 3
    assert {size for _, size in thumbnails.picture_urls(list(noise), budget=1)} == {(72, 96)}
    assert thumbnails.picture_urls([]) == []


def test_small_pictures_stay_as_they_are():
    small = np.zeros((20, 30, 3), np.uint8)
    assert thumbnails.picture_urls([small])[0][1] == (30, 20)


def test_an_enlarged_patch_is_that_patch_and_marked():
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[5 * CELL : 6 * CELL, 6 * CELL : 7 * CELL] = (0, 200, 0)
    middle = np.asarray(thumbnails.patch(pixels, (16, 16), (5, 6), side=120))
    assert middle.shape == (120, 120, 3)
    assert tuple(middle[60, 60]) == (0, 200, 0)
    assert tuple(middle[60, 10]) == (0, 0, 0)
    assert (middle == (255, 214, 10)).all(axis=-1).any()
    # At the rim the window stays inside, so the patch is not in its middle.
    pixels[:CELL, -CELL:] = (0, 0, 200)
    corner = np.asarray(thumbnails.patch(pixels, (16, 16), (0, 15), side=120))
    assert tuple(corner[15, 105]) == (0, 0, 200)


def test_an_outline_surrounds_the_subject():
    mask = np.zeros((128, 128), bool)
    mask[40:80, 40:80] = True
    picture = np.asarray(thumbnails.outlined(np.full((128, 128, 3), 100, np.uint8), mask, side=256))
    yellow = (picture == (255, 214, 10)).all(axis=-1)
    wide = np.kron(mask, np.ones((2, 2), bool))
    assert yellow.any()
    assert (yellow & wide).sum() < 0.2 * yellow.sum()
    assert picture[120, 120, 0] == 100
    assert picture[10, 10, 0] == 45


def test_the_most_telling_patches_are_taken_one_a_picture_and_one_a_place():
    pixels = np.zeros((8, 8, 3), np.uint8)

    def shot(*hits):
        return Shot("plain", "x", 0, {"hits": list(hits)}, pixels)

    far, near, other = (
        [0, 0, 0, 1, 1, 0.9, 0.5, 0],
        [0, 1, 0, 2, 2, 0.99, 0.98, 0],
        [0, 0, 0, 1, 1, 0.9, 0.6, 0],
    )
    first, second = shot(near, far), shot(other, near)
    # Both pictures' best is the same place in the photo: the second shows its next best.
    assert nearest([first, second]) == [(first, far), (second, near)]


def test_leaks_count_before_shares():
    def shot(**row):
        return Shot("plain", "x", 0, row, np.zeros((8, 8, 3), np.uint8))

    assert leak_rate([shot(leak=True, attribution=0.2), shot(leak=False, attribution=0.4)]) == pytest.approx(
        0.503
    )
    assert leak_rate([shot(attribution=0.4)]) == pytest.approx(0.004)
    assert leak_rate([shot(attribution=None)]) == leak_rate([]) == 0


def test_only_pictures_that_are_there_are_shown_and_few_seeds():
    rows = [{"arm": "plain", "prompt": "x", "seed": seed} for seed in (11, *range(10))]
    pictures = {
        ("plain", "recontext", "x", seed): np.zeros((8, 8, 3), np.uint8) for seed in (11, *range(1, 10))
    }
    assert [shot.seed for shot in shots(rows, Material([], pictures))] == list(range(1, 9))


def test_seeds_that_are_left_out_still_count(tmp_path):
    seeds, prompts = tuple(range(10)), PROMPTS[:1]
    result = comparison(seeds=seeds, prompts=prompts)
    read = Page(write(result, tmp_path, seeds=seeds, prompts=prompts).read_text(encoding="utf-8"))
    assert len(read.all("figure", "shot")) == 3 * 8
    assert "n = 10" in read.text
