"""DiffSeg's algorithm: aggregation, merging, refinement and labels on attention whose answer is known."""

import numpy as np
import pytest
import torch
from diffseg_cases import SIDE, block_attention, equal_up_to_names, quadrants
from torch.nn.functional import interpolate

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.diffseg.aggregation import aggregate, shares
from persam_dreambooth.masks.diffseg.clustering import k_means
from persam_dreambooth.masks.diffseg.labels import label_map
from persam_dreambooth.masks.diffseg.merging import (
    anchor_axis,
    anchor_distances,
    anchor_places,
    choose_tau,
    merge,
    merge_next,
    symmetric_kl,
)
from persam_dreambooth.masks.diffseg.segmentation import segmented
from persam_dreambooth.masks.diffseg.windows import Window
from persam_dreambooth.settings import DiffSegConfig


def proposals_of(maps, num_anchors=8, taus=(1.0,) * 3, anchors=None, **options):
    side = round(len(maps) ** 0.5)
    anchors = anchor_places(num_anchors, side) if anchors is None else anchors
    return merge(maps, anchor_distances(maps, anchors), taus, **options)


def labels_of(proposals, size, nms="argmax"):
    return label_map(proposals, (size, size), Window(0, 0, size, size), nms)


@pytest.mark.parametrize("leak", [1e-2, 1e-3, 1e-4, 0])
@pytest.mark.parametrize("num_anchors", [16, 4])
def test_quadrants_are_found_whatever_the_leak(leak, num_anchors):
    maps = block_attention(quadrants(), leak)
    proposals = proposals_of(maps, num_anchors)
    assert len(proposals) == 4
    # A leak of 0 is what ends the reference's half precision in an IndexError.
    for proposal in proposals:
        # Four times what it is at 64 x 64 places, as the probabilities are.
        assert (maps - proposal).abs().amax(dim=1).min() <= 8e-9
    assert equal_up_to_names(labels_of(proposals, SIDE), quadrants())
    assert equal_up_to_names(labels_of(proposals, 8 * SIDE), quadrants(8 * SIDE))


@pytest.mark.slow
def test_quadrants_at_the_size_of_stable_diffusion():
    proposals = proposals_of(block_attention(quadrants(64)), 16)
    assert len(proposals) == 4
    assert equal_up_to_names(labels_of(proposals, 512), quadrants(512))


def test_a_disk_before_two_parts_is_right_but_for_its_border():
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    regions = (x >= 12).long()
    regions[(y - 16) ** 2 + (x - 14) ** 2 < 64] = 2
    proposals = proposals_of(block_attention(regions))
    assert equal_up_to_names(labels_of(proposals, SIDE), regions)
    labels = labels_of(proposals, 8 * SIDE)
    truth = regions.repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()
    names = np.array([np.bincount(truth[labels == number]).argmax() for number in range(3)])
    wrong = names[labels] != truth
    assert wrong.mean() < 0.03
    # A cell has 8 pixels; no error is further than half of one from the border.
    near = np.zeros_like(wrong)
    for down, across in np.ndindex(9, 9):
        near |= np.roll(truth, (down - 4, across - 4), (0, 1)) != truth
    assert not (wrong & ~near).any()


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9, 1.1, 2.0])
def test_four_resolutions_agree(tau):
    maps = {side: block_attention(quadrants(side)) for side in (32, 16, 8, 4)}
    proposals = proposals_of(aggregate(maps), taus=(tau,) * 3)
    assert len(proposals) == 4
    assert equal_up_to_names(labels_of(proposals, SIDE), quadrants())


def random_maps(*sides):
    return {side: torch.randn(side**2, side**2).softmax(dim=1) for side in sides}


def test_aggregated_maps_are_distributions():
    maps = random_maps(16, 8, 4)
    whole = aggregate(maps)
    assert whole.shape == (256, 256)
    assert (whole >= 0).all()
    assert torch.allclose(whole.sum(dim=1), torch.ones(256), atol=1e-6)
    assert torch.equal(aggregate({16: maps[16]}), maps[16] / maps[16].sum(dim=1, keepdim=True))


def test_aggregation_is_the_formula_spelt_out():
    maps = random_maps(6, 4)
    found = aggregate(maps).view(6, 6, 6, 6)
    fine = maps[6].view(6, 6, 6, 6)
    coarse = interpolate(maps[4].view(16, 1, 4, 4), (6, 6), mode="bilinear", align_corners=False)
    coarse = (coarse / coarse.sum(dim=(2, 3), keepdim=True)).view(4, 4, 6, 6)
    for row, column in np.ndindex(6, 6):
        # 6 is no multiple of 4: places 0 0 1 2 2 3 own the coarse ones.
        expected = 0.6 * fine[row, column] + 0.4 * coarse[row * 4 // 6, column * 4 // 6]
        assert torch.allclose(found[row, column], expected, atol=1e-7)


def test_weights_are_the_sides_shares_or_those_given():
    assert shares([64, 32, 16, 8], None) == pytest.approx([0.5333, 0.2667, 0.1333, 0.0667], abs=1e-4)
    maps = random_maps(8, 4)
    alone = aggregate(maps, (0, 5)).view(8, 8, 8, 8)
    assert torch.equal(alone[0, 0], alone[1, 1])
    with pytest.raises(UserError, match=r"--diffseg_weights 1 2 3: 3 weights for 2 resolutions.*\(8, 4\)"):
        aggregate(maps, (1, 2, 3))


@pytest.mark.parametrize(
    ("count", "axis"),
    [
        (2, [0, 63]),
        (4, [0, 21, 42, 63]),
        (8, list(range(0, 64, 9))),
        (16, list(range(1, 62, 4))),
        (32, list(range(0, 63, 2))),
        (64, list(range(64))),
        (24, list(range(8, 55, 2))),
        (1, [31]),
    ],
)
def test_anchors_are_where_the_paper_has_them(count, axis):
    assert anchor_axis(count, 64).tolist() == axis
    assert anchor_axis(16, 96).tolist() == list(range(2, 93, 6))


def test_distance_is_the_formula_spelt_out():
    one, other = torch.randn(3, 40).softmax(dim=1), torch.randn(4, 40).softmax(dim=1)
    for dtype, least in ((torch.float32, 5e-5), (torch.float64, 1e-12)):
        a, b = one.to(dtype), other.to(dtype)
        expected = 0.5 * ((a[:, None] - b) * (a[:, None].log() - b.log())).sum(dim=-1)
        found = symmetric_kl(a, b)
        assert (found - expected).abs().max() < least
        assert (found - symmetric_kl(b, a).T).abs().max() < least
        order = torch.randperm(40)
        assert (found - symmetric_kl(a[:, order], b[:, order])).abs().max() < least
        assert symmetric_kl(a, a).diagonal().abs().max() < 1e-4
    sharp = torch.eye(5)
    assert torch.isfinite(symmetric_kl(sharp, sharp)).all()
    assert (symmetric_kl(sharp, sharp) >= 0).all()


def test_the_ends_of_tau():
    maps = block_attention(quadrants()).double()
    assert len(proposals_of(maps, taus=(1e-9,) * 3)) == 4
    (all_in_one,) = proposals_of(maps, taus=(1e9,) * 3)
    assert (all_in_one - maps.mean(dim=0)).abs().max() < 2e-10
    assert (labels_of(all_in_one[None], SIDE) == 0).all()


def test_a_chain_is_merged_twice_unless_exclusive():
    place = torch.arange(30.0)
    a, b, c = (torch.exp(-((place - middle) ** 2) / 18) for middle in (10, 13, 16))
    chain = torch.stack([a / a.sum(), b / b.sum(), c / c.sum()])
    distances = symmetric_kl(chain, chain)
    tau = float(distances[0, 1] + distances[0, 2]) / 2
    first, second = merge_next(chain, tau)
    assert torch.allclose(first, chain[:2].mean(dim=0))
    assert torch.allclose(second, chain[1:].mean(dim=0))
    first, second = merge_next(chain, tau, exclusive=True)
    assert torch.allclose(first, chain[:2].mean(dim=0))
    assert torch.allclose(second, chain[2])


@pytest.mark.parametrize(("start", "count"), [(2, 1), (5, 2)])
def test_what_no_anchor_lies_in_is_absorbed(start, count):
    assert anchor_axis(8, SIDE).tolist() == list(range(1, 30, 4))
    regions = torch.zeros(SIDE, SIDE, dtype=torch.long)
    regions[start : start + 2, start : start + 2] = 1
    assert len(proposals_of(block_attention(regions))) == count


def test_the_order_of_anchors_changes_names_alone():
    maps = block_attention(quadrants())
    anchors = anchor_places(8, SIDE)
    mixed = proposals_of(maps, anchors=anchors[torch.randperm(len(anchors))])
    assert equal_up_to_names(labels_of(mixed, SIDE), labels_of(proposals_of(maps), SIDE))


def test_k_means_leaves_what_is_right_and_mends_what_is_not():
    maps = block_attention(quadrants())
    proposals = proposals_of(maps)
    assert torch.allclose(k_means(maps, proposals), proposals, atol=1e-9)
    blurred = 0.6 * proposals + 0.4 * proposals.mean(dim=0)
    assert torch.allclose(k_means(maps, blurred), proposals, atol=1e-9)
    unused = torch.full((1, SIDE**2), 1.0)
    assert torch.equal(k_means(maps, torch.cat([proposals, unused]))[-1:], unused)


def test_peaks_keep_the_border_of_a_thin_strip():
    regions = torch.zeros(SIDE, SIDE, dtype=torch.long)
    regions[:, 5:7] = 1
    proposals = proposals_of(block_attention(regions))
    widths = {
        nms: (labels_of(proposals, 8 * SIDE, nms) == labels_of(proposals, SIDE)[0, 5]).sum(axis=1)
        for nms in ("argmax", "peak")
    }
    # Two cells of 8 pixels; the narrow distribution is 15 times as high, and takes half a cell on each side.
    assert (widths["peak"] == 16).all()
    assert (widths["argmax"] == 24).all()


def test_labels_are_what_enlarging_the_square_gives():
    proposals = torch.rand(3, 36)
    whole = interpolate(proposals.view(3, 1, 6, 6), (48, 48), mode="bilinear", align_corners=False)[:, 0]
    assert np.array_equal(label_map(proposals, (48, 48), Window(0, 0, 48, 48)), whole.argmax(dim=0))
    # 48 x 30 in the middle of the square, and a square in the middle of 48 x 60.
    padded = label_map(proposals, (48, 30), Window(0, -9, 48, 48))
    assert np.array_equal(padded, whole.argmax(dim=0)[:, 9:39])
    cropped = label_map(proposals, (48, 60), Window(0, 6, 48, 48))
    assert np.array_equal(cropped[:, 6:54], whole.argmax(dim=0))
    assert (cropped[:, :6] == -1).all()
    assert (cropped[:, 54:] == -1).all()


def test_a_threshold_is_chosen_that_leaves_a_usual_number():
    assert 4 <= round(1 / choose_tau(lambda tau: round(1 / tau))) <= 8
    # Where no threshold does, the nearest to a usual number: never fewer than need be.
    assert choose_tau(lambda tau: 1) > 0


def test_one_segment_is_no_answer_unless_it_was_asked_for():
    # Weak structure, as a small model has it: at 0.9 nothing is told apart.
    maps = 0.1 * block_attention(quadrants(16), 0) + 0.9 / 256
    anchors = anchor_places(8, 16)
    found, taus = segmented(maps, anchors, DiffSegConfig())
    assert len(found) == 4
    assert len(set(taus)) == 1
    assert taus[0] < 0.9
    assert len(segmented(maps, anchors, DiffSegConfig(diffseg_tau=(0.9, 0.9, 0.9)))[0]) == 1
    sharp = block_attention(quadrants(16))
    assert segmented(sharp, anchors, DiffSegConfig())[1] == (0.9, 0.9, 0.9)
