"""Masks at latent size: hand-worked grids, what each mode keeps of thin parts, a line for unusable masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_masks import disc_with_whiskers, whiskers
from torch.nn.functional import avg_pool2d, interpolate

from persam_dreambooth.diffusion.background_share import BackgroundShare, background_share, describe
from persam_dreambooth.diffusion.latent_mask import (
    LatentMask,
    check_subject_left,
    dilated,
    eroded,
    latent_mask,
    mask_of,
)
from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import Photo, array_digest

DOCS = Path(__file__).parent.parent / "docs" / "masked_training.md"


OTHERS = {
    "bilinear, antialiased": {"mode": "bilinear", "antialias": True},
    "nearest": {"mode": "nearest"},
    "nearest-exact": {"mode": "nearest-exact"},
}
"""How other trainers bring a mask to latent size."""


def table_row(name: str, cells_of) -> str:
    """A line of the table in the documentation: what a way to make cells does to a disc with whiskers."""
    mask = disc_with_whiskers()
    cells, shares = cells_of(mask), avg_pool2d(mask, 8)
    thin = (avg_pool2d(whiskers()[None].float(), 8) > 0) & (shares <= 0.5)
    by_place = []
    for shift in range(8):
        moved = cells_of(mask.roll(shift, 1))
        on_whiskers = avg_pool2d(whiskers().roll(shift, 0)[None].float(), 8) > 0
        # Each whisker's cells at their heaviest row: a whisker across two rows of cells is seen by either.
        by_place.append(float((moved * on_whiskers).amax(1)[:, 49:56].mean()))
    values = background_share(cells[None], shares[None]).overall, float((cells * shares).sum() / shares.sum())
    return (
        f"| {name} | {values[0]:.1%} | {float(cells[thin].mean()):.2f} | "
        f"{min(by_place):.2f} to {max(by_place):.2f} | {values[1]:.1%} |"
    )


def grid(text: str) -> torch.Tensor:
    """`#` as 1 and `.` as 0."""
    return torch.tensor([[[float(sign == "#") for sign in row] for row in text.split()]])


def photo_of(pixels: np.ndarray) -> Photo:
    return Photo(Path("album/07.png"), pixels, array_digest(pixels))


def test_modes_by_hand():
    mask = torch.zeros(1, 16, 24)
    mask[:, :8, :8] = 1
    mask[:, 8:, :4] = 1
    mask[0, 3, 20] = 0.5
    assert latent_mask(mask, 8, LatentMask()).tolist() == [[[1.0, 0.0, 1 / 128], [0.5, 0.0, 0.0]]]
    assert latent_mask(mask, 8, LatentMask(mode="strict")).tolist() == [[[1, 0, 0], [0, 0, 0]]]
    assert latent_mask(mask, 8, LatentMask(mode="any")).tolist() == [[[1, 0, 1], [1, 0, 0]]]
    mask[0, 0, 0] = 1 - 1e-6
    assert latent_mask(mask, 8, LatentMask(mode="strict")).sum() == 0


def test_outside_weight_is_on_what_is_left():
    mask = torch.zeros(1, 8, 16)
    mask[:, :4, :8] = 1
    weighted = latent_mask(mask, 8, LatentMask(outside_weight=0.1))
    torch.testing.assert_close(weighted, torch.tensor([[[0.55, 0.1]]]))
    assert (latent_mask(mask, 8, LatentMask(outside_weight=1)) == 1).all()


def test_dilation_and_erosion_by_hand():
    speck = grid("..... ..... ..#.. ..... .....")
    assert torch.equal(dilated(speck, 1), grid("..... .###. .###. .###. ....."))
    assert torch.equal(dilated(speck, 2), grid("##### ##### ##### ##### #####"))
    assert torch.equal(eroded(grid("..... .###. .###. .###. ....."), 1), speck)
    # The picture's edge is no edge of the mask: a subject that is cut off there loses nothing at it.
    assert torch.equal(eroded(grid("###.. ###.. ....."), 1), grid("##... ..... ....."))
    assert torch.equal(eroded(dilated(speck, 0), 0), speck)


def test_dilation_comes_before_erosion_and_after_the_mode():
    # A gap of one cell closes for good; the other order would have left nothing.
    pixels = (
        grid("......... ......... ..##.##.. ......... .........")
        .repeat_interleave(8, 1)
        .repeat_interleave(8, 2)
    )
    closed = latent_mask(pixels, 8, LatentMask(dilate=1, erode=1))
    assert torch.equal(closed, grid("......... ......... ..#####.. ......... ........."))
    half = torch.zeros(1, 8, 24)
    half[:, :4, 8:16] = 1
    assert latent_mask(half, 8, LatentMask(dilate=1)).tolist() == [[[0.5, 0.5, 0.5]]]
    assert latent_mask(half, 8, LatentMask(mode="strict", dilate=1)).sum() == 0


def test_dilating_the_complement_is_eroding():
    cells = torch.rand(1, 9, 12, generator=torch.Generator().manual_seed(0))
    for radius in (1, 2, 3):
        torch.testing.assert_close(eroded(cells, radius), 1 - dilated(1 - cells, radius))
        assert (eroded(cells, radius) <= cells).all()
        assert (cells <= dilated(cells, radius)).all()


def test_flips_commute_with_every_setting():
    mask = (torch.rand(1, 40, 64, generator=torch.Generator().manual_seed(1)) > 0.3).float()
    for mode in ("area", "strict", "any"):
        settings = LatentMask(mode=mode, dilate=1, erode=2, outside_weight=0.2)
        torch.testing.assert_close(
            latent_mask(mask.flip(-1), 8, settings), latent_mask(mask, 8, settings).flip(-1)
        )


def test_strict_is_below_area_and_any_above():
    mask = disc_with_whiskers()
    strict, area, some = (latent_mask(mask, 8, LatentMask(mode=mode)) for mode in ("strict", "area", "any"))
    assert ((strict <= area) & (area <= some)).all()
    assert not (strict * (1 - avg_pool2d(mask, 8))).any()


def test_the_share_of_background_by_hand():
    weights = torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])[:, None, None]
    shares = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])[:, None, None]
    by_area = background_share(weights, shares)
    # 0.25 of 1.5 in the first photo, 2 of 3 in the second.
    assert by_area.of_photos == pytest.approx((1 / 6, 2 / 3))
    assert by_area.overall == pytest.approx(5 / 12)
    assert background_share(weights, shares, "none").overall == pytest.approx(2.25 / 4.5)


def test_the_share_with_a_weight_outside():
    # Source: (1 - a) w / (a + (1 - a) w) for masks without soft edges.
    for area, weight in ((0.25, 0.1), (0.5, 0.1), (0.25, 1.0), (0.25, 0.0)):
        mask = torch.zeros(1, 32, 32)
        mask[:, :, : int(area * 32)] = 1
        cells = latent_mask(mask, 8, LatentMask(outside_weight=weight))
        share = background_share(cells[None], latent_mask(mask, 8, LatentMask())[None]).overall
        assert share == pytest.approx((1 - area) * weight / (area + (1 - area) * weight))


def test_the_share_in_words():
    assert describe(BackgroundShare((0.04, 0.036), 0.038), ["00.png", "01.png"]) == (
        "3.8% of the loss weight lies on background (00.png 4.0%, 01.png 3.6%)"
    )
    many = describe(BackgroundShare(tuple(n / 100 for n in range(12)), 0.05), [f"{n}.png" for n in range(12)])
    assert many.endswith(
        "(11.png 11.0%, 10.png 10.0%, 9.png 9.0%, 8.png 8.0%, 7.png 7.0%, 6.png 6.0%, "
        "5.png 5.0%, 4.png 4.0%, 3.png 3.0%, 2.png 2.0% and 2 with less)"
    )


def test_unusable_masks_have_their_line():
    photo = photo_of(np.zeros((40, 48, 3), np.uint8))
    full = np.ones((40, 48), bool)
    assert mask_of(photo, {"07": full}) is full
    with pytest.raises(UserError, match=r"album/07\.png: has no mask, but other photos do; .* Add a mask\."):
        mask_of(photo, {"08": full})
    with pytest.raises(UserError, match=r"07\.png: its mask is 5 x 4 pixels and the photo 48 x 40; the two"):
        mask_of(photo, {"07": np.ones((4, 5), bool)})
    with pytest.raises(UserError, match=r"07\.png: its mask is empty; some pixels must be subject\."):
        mask_of(photo, {"07": ~full})


def test_a_square_without_subject_is_an_error():
    photo = photo_of(np.zeros((16, 16, 3), np.uint8))
    mask = np.zeros((16, 16), bool)
    mask[4, 4] = True
    square = torch.from_numpy(mask)[None].float()
    check_subject_left(photo, mask, square, 8, LatentMask())
    check_subject_left(photo, mask, square, 8, LatentMask(mode="any"))
    with pytest.raises(
        UserError,
        match=r"album/07\.png: nothing of the subject is left for the loss \(1 pixels in the mask, 1 in the "
        r"16 px square, no latent cell by --mask_mode strict\).*--mask_mode area\.",
    ):
        check_subject_left(photo, mask, square, 8, LatentMask(mode="strict"))
    with pytest.raises(UserError, match=r"--mask_mode any --mask_erode 1\);.* a smaller --mask_erode or"):
        check_subject_left(photo, mask, square, 8, LatentMask(mode="any", erode=1))
    # Weight on the background is no subject.
    with pytest.raises(UserError, match=r"nothing of the subject is left"):
        check_subject_left(photo, mask, torch.zeros(1, 16, 16), 8, LatentMask(outside_weight=0.5))


def test_the_table_in_the_documentation_is_measured():
    ways = {
        f"`{mode}`": lambda m, mode=mode: latent_mask(m, 8, LatentMask(mode=mode))
        for mode in ("area", "strict", "any")
    }
    ways["`area`, `--mask_dilate 1`"] = lambda m: latent_mask(m, 8, LatentMask(dilate=1))
    ways["`area`, `--mask_erode 1`"] = lambda m: latent_mask(m, 8, LatentMask(erode=1))
    for name, how in OTHERS.items():
        ways[name] = lambda m, how=how: interpolate(m[None], size=(64, 64), **how)[0]
    rows = [table_row(name, way) for name, way in ways.items()]
    missing = [row for row in rows if row not in DOCS.read_text()]
    assert not missing, "\n".join(rows)


def test_the_table_of_weights_outside_in_the_documentation():
    def share(percent: int, weight: float) -> float:
        mask = torch.zeros(1, 8, 800)
        mask[..., : 8 * percent] = 1
        cells = latent_mask(mask, 8, LatentMask(outside_weight=weight))
        return background_share(cells[None], latent_mask(mask, 8, LatentMask())[None]).overall

    rows = [
        f"| {percent}% | {share(percent, 0.1):.1%} | {share(percent, 0.01):.1%} |"
        for percent in (5, 10, 25, 50)
    ]
    assert all(row in DOCS.read_text() for row in rows), "\n".join(rows)
