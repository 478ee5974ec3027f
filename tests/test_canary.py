"""The random canary: a fair lot, ranks that mean what they say, and a run on tiny models."""

import itertools
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from background_cases import places
from PIL import Image
from tiny_albums import draw_album, photo_of
from tiny_runs import arguments, build_models

from persam_dreambooth.commands.canary import canary
from persam_dreambooth.diffusion.captions import Album
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.canary import draw_place, nearest_shares, p_of_ranks, rank_of, ranks_text
from persam_dreambooth.leakage.canary_run import in_front_of
from persam_dreambooth.masks.record import subject_mask


def test_the_lot_is_fair_and_the_same_each_time():
    drawn = [draw_place(5, 0, number) for number in range(2000)]
    assert drawn == [draw_place(5, 0, number) for number in range(2000)]
    counts = Counter(drawn)
    assert set(counts) == set(range(5))
    # Four deviations of a binomial count.
    assert all(abs(count - 400) < 72 for count in counts.values())
    assert drawn != [draw_place(5, 1, number) for number in range(2000)]


def test_ranks():
    assert rank_of([0.1, 0.9, 0.5], 1) == 1
    assert rank_of([0.1, 0.9, 0.5], 0) == 3
    # Of equals the last: who learns nothing is never first.
    assert rank_of([0.0] * 20, 7) == 20
    assert rank_of([float("nan")] * 20, 7) == 20
    scores = np.random.default_rng(0).normal(size=20).tolist()
    assert sorted(rank_of(scores, drawn) for drawn in range(20)) == list(range(1, 21))


def test_the_probability_of_ranks_is_counted_out():
    assert p_of_ranks([1], 20) == 1 / 20
    assert p_of_ranks([20], 20) == 1
    assert p_of_ranks([1, 1, 1], 20) == pytest.approx(20**-3)
    for ranks in ([2, 1], [3, 3], [4, 2, 1]):
        every = list(itertools.product(range(1, 5), repeat=len(ranks)))
        lower = sum(sum(outcome) <= sum(ranks) for outcome in every)
        assert p_of_ranks(ranks, 4) == pytest.approx(lower / len(every))
    assert 0.1 < p_of_ranks([9, 12, 5, 17, 8, 11], 20) < 0.9


def test_ranks_in_words():
    assert ranks_text([1], 20) == (
        "the place behind the photos was learnt (rank 1 of 20; by lot alone as low or lower with probability "
        "0.05)"
    )
    assert ranks_text([7, 14], 20).startswith(
        "the place behind the photos is not shown to be learnt (ranks 7, 14"
    )
    assert ranks_text([7, 14], 20).endswith(")")
    # Last again and again is no sign that it was not seen.
    assert ranks_text([19, 19, 20, 19], 20).endswith(
        "; by lot alone as low or lower with probability 1); nor does it rank as by lot: as high or higher "
        "with probability 0.00022. Either training saw it and drifts in front of it most, or nothing was "
        "trained and all places are equal"
    )


def test_cells_go_to_the_place_they_are_nearest_to():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6)) * 5
    # A bank of many cells is nearer by number alone, unless it is thinned out.
    banks = [
        centre + rng.normal(size=(size, 6)) for centre, size in zip(centres, (30, 30, 30, 900), strict=True)
    ]
    cells = np.concatenate([centres[2] + rng.normal(size=(60, 6)), centres[0] + rng.normal(size=(40, 6))])
    shares = nearest_shares(cells, banks)
    assert shares.sum() == pytest.approx(1)
    assert shares.tolist() == pytest.approx([0.4, 0, 0.6, 0], abs=0.03)
    alike = [rng.normal(size=(size, 6)) for size in (40, 40, 40, 4000)]
    assert nearest_shares(rng.normal(size=(2000, 6)), alike).max() < 0.35


def test_every_subject_stands_in_front_of_the_place():
    photos, masks = draw_album(2)
    known = {stem: subject_mask(stem, mask, "given") for stem, mask in masks.items()}
    (place,) = places(1)
    album = in_front_of(Album(tuple(photos), ()), known, place)
    for photo, moved in zip(photos, album.photos, strict=True):
        mask = masks[photo.stem]
        assert (moved.pixels[mask] == photo.pixels[mask]).all()
        assert moved.pixels[~mask].min() >= 60
        assert moved.digest == photo_of(moved.pixels, "x").digest != photo.digest
    assert (album.photos[0].pixels[0] == album.photos[1].pixels[0]).all()


def test_a_run_keeps_its_draws_and_goes_on(tmp_path, capsys):
    models = build_models(tmp_path / "models", "sd", masks=3)
    folder = tmp_path / "places"
    folder.mkdir()
    for number, pixels in enumerate(places(4)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    out = tmp_path / "out"
    flags = arguments(models, out, "--background_decoys", str(folder), "--max_train_steps=2", "--use_persam")
    canary(tuple(flags), draws=1)
    said = capsys.readouterr().out
    assert "draw 1: place " in said
    assert "after 2 steps its background learning advantage is " in said
    assert f"canary: {out / 'canary' / 'canary.json'}" in said
    first = (out / "canary" / "draw-00.json").stat().st_mtime_ns
    canary(tuple(flags), draws=2)
    assert (out / "canary" / "draw-00.json").stat().st_mtime_ns == first
    record = json.loads((out / "canary" / "canary.json").read_text())
    assert record["places"] == 4
    assert [draw["draw"] for draw in record["draws"]] == [0, 1]
    assert record["ranks"] == [draw["rank"] for draw in record["draws"]]
    assert record["p"] == p_of_ranks(record["ranks"], 4)
    assert not any((out / name).exists() for name in ("pipeline", "unet", "model_index.json"))
    # The same subjects elsewhere, replaced before the VAE: what is trained does not depend on the lot.
    strict = (*flags, "--background=fill", "--output_dir", str(tmp_path / "strict"))
    shutil.copytree(out / "masks", tmp_path / "strict" / "masks")
    canary(strict, draws=3)
    draws = json.loads((tmp_path / "strict" / "canary" / "canary.json").read_text())["draws"]
    by_place = {draw["place"]: draw["rank"] for draw in draws}
    assert len(set(by_place.values())) == len(by_place) > 1


def test_what_cannot_be_drawn_has_its_line(tmp_path):
    with pytest.raises(UserError, match=r"--draws 0: out of range; at least 1 is needed\."):
        canary((), draws=0)
    models = build_models(tmp_path / "models", "sd", masks=3)
    flags = tuple(arguments(models, tmp_path / "out"))
    with pytest.raises(UserError, match="--measure_masks: missing; masks are needed to put the subject"):
        canary(flags, draws=1)
    assert not (tmp_path / "out").exists()
