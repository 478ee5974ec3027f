"""PerSAM: three passes equal to their restatement, every known mistake told apart, several references."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from decoder_formulas import MISTAKES
from persam_formulas import CELL_MISTAKES, MAP_MISTAKES, PASS_MISTAKES, PromptedDecoder, restated_persam
from sam_models import constant_segmenter, random_segmenter, relative_difference, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam
from persam_dreambooth.masks.persam import Reference
from persam_dreambooth.sam.segmenter import Decoded

SHAPES = [(96, 128), (160, 112), (128, 128), (70, 121)]


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


@pytest.fixture(scope="module")
def exact():
    """Return the same model at a precision that leaves only the formulas to compare."""
    segmenter = random_segmenter()
    segmenter.model.double()
    return segmenter


@pytest.fixture(scope="module")
def reference(segmenter):
    pixels, mask = scene(135, 200)
    return Reference(segmenter.encode(pixels), mask, "cat/00.mask.png")


def doubled(embedding):
    return replace(embedding, features=embedding.features.double())


def in_double(reference):
    return replace(reference, embedding=doubled(reference.embedding))


def found_in_double(segmenter, exact, reference, shape, *, compat=True):
    """Return what PerSAM finds in a photo at double precision, and the photo's embedding."""
    embedding = doubled(segmenter.encode(scene(*shape, seed=3)[0]))
    target = persam.fit(exact, [in_double(reference)], compat=compat)
    return persam.find(exact, embedding, target, "photo", compat=compat), embedding


def restated(exact, reference, embedding, mistake=""):
    given = in_double(reference)
    with torch.no_grad():
        return restated_persam(exact, [(given.embedding, given.mask)], embedding, mistake)


@pytest.mark.parametrize("shape", SHAPES)
def test_compat_is_the_authors_program(segmenter, exact, reference, shape):
    found, embedding = found_in_double(segmenter, exact, reference, shape)
    trace = restated(exact, reference, embedding)
    assert relative_difference(found.similarity, trace.similarity) < 1e-10
    assert relative_difference(found.attention_similarity, trace.guidance) < 1e-10
    assert len(found.passes) == 3
    for ours, logits, iou, chosen, box in zip(
        found.passes, trace.logits, trace.iou, trace.chosen, trace.boxes, strict=True
    ):
        # The model rounds the points to float32; nothing else is.
        assert relative_difference(ours.low_res_logits, logits) < 1e-6
        assert relative_difference(ours.iou_predictions, iou) < 1e-6
        assert ours.chosen == chosen
        assert (ours.box is None) == (box is None)
        assert box is None or torch.equal(ours.box.double(), box)
    assert torch.equal(found.mask, trace.mask)
    assert torch.equal(found.box.double(), trace.boxes[2])
    assert found.iou_prediction == pytest.approx(float(trace.iou[2][trace.chosen[2]]), rel=1e-6)
    assert found.point_labels.tolist() == [1, 0]
    assert found.mask_weights is None


@pytest.fixture(scope="module")
def quiet_pair():
    """Return a model in float32 and in float64, whose decoder makes less of rounding than most."""
    pair = random_segmenter(), random_segmenter()
    for segmenter in pair:
        for name, weight in segmenter.model.mask_decoder.named_parameters():
            weight.data *= 0.8 if weight.dim() > 1 and "norm" not in name else 1.0
    pair[1].model.double()
    return pair


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float32_every_pass_follows_the_formulas_from_the_one_before(quiet_pair, reference, shape):
    segmenter, exact = quiet_pair
    embedding = segmenter.encode(scene(*shape, seed=3)[0])
    target = persam.fit(segmenter, [reference], compat=True)
    found = persam.find(segmenter, embedding, target, "photo", compat=True)
    decoder, given, kept = PromptedDecoder(exact), None, slice(0, 1)
    guide = {"similarity": found.attention_similarity.double(), "target": target.target_embedding.double()}
    for step in found.passes:
        points = found.point_coords, found.point_labels.tolist()
        with torch.no_grad():
            logits, iou = decoder.decode(doubled(embedding), *points, box=step.box, mask=given, **guide)
        assert relative_difference(step.low_res_logits, logits[kept]) < 1e-5
        assert relative_difference(step.iou_predictions, iou[kept]) < 1e-5
        given, kept, guide = step.low_res_logits[step.chosen][None], slice(1, 4), {}


def largest_difference(found, trace):
    """Return the largest relative difference of any tensor of the run."""
    pairs = [(found.similarity, trace.similarity), (found.attention_similarity, trace.guidance)]
    pairs += [(ours.low_res_logits, logits) for ours, logits in zip(found.passes, trace.logits, strict=True)]
    return max(relative_difference(ours.flatten()[:1000], theirs.flatten()[:1000]) for ours, theirs in pairs)


@pytest.mark.parametrize("mistake", [*CELL_MISTAKES, *MAP_MISTAKES, *PASS_MISTAKES, *MISTAKES])
def test_every_other_reading_is_told_apart(segmenter, exact, reference, mistake):
    found, embedding = found_in_double(segmenter, exact, reference, (70, 121))
    assert largest_difference(found, restated(exact, reference, embedding, mistake)) > 1e-4


def test_the_default_differs_from_the_authors_where_a_photo_is_not_square(segmenter, exact, reference):
    found, embedding = found_in_double(segmenter, exact, reference, (70, 121), compat=False)
    assert largest_difference(found, restated(exact, reference, embedding)) > 1e-3


def test_the_first_pass_sees_both_points_and_a_pad_and_the_last_a_box_in_its_place(segmenter, reference):
    sizes = []
    handle = segmenter.model.mask_decoder.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(tuple(kwargs["sparse_prompt_embeddings"].shape[-2:])),
        with_kwargs=True,
    )
    try:
        embedding = segmenter.encode(scene(96, 128, seed=3)[0])
        found = persam.find(segmenter, embedding, persam.fit(segmenter, [reference]), "photo")
    finally:
        handle.remove()
    assert sizes == [(3, 32), (3, 32), (4, 32)]
    assert [step.low_res_logits.shape[0] for step in found.passes] == [1, 3, 3]
    assert [step.box is None for step in found.passes] == [True, True, False]


def test_several_references_are_pooled_cell_by_cell(segmenter, reference):
    other = Reference(segmenter.encode(scene(128, 100, seed=5)[0]), scene(128, 100, seed=5)[1], "other")
    both = persam.fit(segmenter, [reference, other])
    sums, count = torch.zeros(32), 0
    for given in (reference, other):
        cells = persam.subject_cells(segmenter, given.embedding, given.mask)
        sums += given.embedding.features[0][:, cells].sum(dim=1)
        count += int(cells.sum())
    torch.testing.assert_close(both.target_embedding, sums / count)
    torch.testing.assert_close(both.direction.pow(2).sum(), torch.tensor(1.0))
    twice = persam.fit(segmenter, [reference, reference])
    torch.testing.assert_close(twice.target_embedding, persam.fit(segmenter, [reference]).target_embedding)


def test_a_reference_without_a_cell_is_refused_by_its_name(segmenter, reference):
    mask = np.zeros((135, 200), bool)
    mask[0, 0] = True
    tiny = replace(reference, mask=mask, name="cat/01.mask.png")
    expected = r"^cat/01\.mask\.png: the subject \(1 of 27,000 pixels\) is too small .* as 16 x 16 cells; "
    with pytest.raises(UserError, match=expected):
        persam.fit(segmenter, [reference, tiny])


def constant_case(logit):
    segmenter = constant_segmenter(logit)
    pixels, mask = scene(96, 128)
    embedding = segmenter.encode(pixels)
    return segmenter, embedding, persam.fit(segmenter, [Reference(embedding, mask, "mask")])


@pytest.mark.parametrize("logit", [-1.0, 1.0])
def test_masks_that_are_all_empty_or_all_full_are_an_error_that_names_the_photo(logit):
    segmenter, embedding, target = constant_case(logit)
    expected = (
        r"^cat/03\.png: the subject was not found \(each mask .*; every photo .* Remove the photo, or put"
    )
    with pytest.raises(UserError, match=expected):
        persam.find(segmenter, embedding, target, "cat/03.png")


def test_compat_takes_a_full_mask_and_refuses_an_empty_one():
    segmenter, embedding, target = constant_case(1.0)
    assert persam.find(segmenter, embedding, target, "cat/03.png", compat=True).mask.all()
    segmenter, embedding, target = constant_case(-1.0)
    expected = (
        r"^cat/03\.png: the mask that SAM believes in most is empty, and --persam_compat takes no other; "
        r"every photo needs a mask\. Leave --persam_compat out, or put a mask"
    )
    with pytest.raises(UserError, match=expected):
        persam.find(segmenter, embedding, target, "cat/03.png", compat=True)


def test_the_likeliest_mask_that_is_neither_empty_nor_full_is_taken(segmenter):
    embedding = segmenter.encode(scene(96, 128)[0])
    empty, full = torch.full((1, 64, 64), -1.0), torch.full((1, 64, 64), 1.0)
    half = torch.where(torch.arange(64) < 20, 1.0, -1.0).expand(1, 64, 64)
    decoded = Decoded(torch.cat([empty, half, full]), torch.tensor([0.9, 0.2, 0.8]))
    assert persam.likeliest_usable(segmenter, embedding, decoded) == 1
    nothing = Decoded(torch.cat([empty, full, empty]), torch.tensor([0.9, 0.2, 0.8]))
    assert persam.likeliest_usable(segmenter, embedding, nothing) is None


def test_a_box_is_tight_and_holds_its_corners():
    mask = torch.zeros(9, 12, dtype=torch.bool)
    mask[2, 5] = mask[7, 3] = True
    assert persam.tight_box(mask).tolist() == [3, 2, 5, 7]


def test_where_the_last_pass_has_no_usable_mask_the_one_before_stays(segmenter, reference):
    # Masks of photos with a handful of pixels are often empty or full.
    target = persam.fit(segmenter, [reference])
    for seed in range(60):
        pixels = np.random.default_rng(seed).integers(0, 255, (1 + seed % 2, 2, 3), dtype=np.uint8)
        embedding = segmenter.encode(pixels)
        try:
            found = persam.find(segmenter, embedding, target, "photo")
        except UserError:
            continue
        if len(found.passes) == 2:
            break
    assert len(found.passes) == 2
    last = found.passes[-1]
    mask = segmenter.mask_logits(last.low_res_logits[last.chosen][None], embedding)[0] > 0
    assert torch.equal(found.mask, mask)
    assert torch.equal(found.box, persam.tight_box(mask))
    again = segmenter.decode(
        embedding,
        point_coords=found.point_coords,
        point_labels=found.point_labels,
        box=found.box,
        mask_input=last.low_res_logits[last.chosen][None],
    )
    assert persam.likeliest_usable(segmenter, embedding, again) is None


@pytest.mark.parametrize("other_colour", [(30, 60, 220), (240, 230, 40), (20, 160, 60)])
@pytest.mark.parametrize("is_left", [True, False])
def test_of_two_things_the_one_like_the_reference_is_pointed_at(segmenter, reference, is_left, other_colour):
    rows, columns = np.ogrid[:100, :200]
    pixels = scene(100, 200)[0]
    pixels[:] = (60, 60, 60)
    like, unlike = (
        (columns - x) ** 2 + (rows - 50) ** 2 < 28**2 for x in ((50, 150) if is_left else (150, 50))
    )
    pixels[like], pixels[unlike] = (220, 40, 30), other_colour
    embedding = segmenter.encode(pixels)
    found = persam.find(segmenter, embedding, persam.fit(segmenter, [reference]), "two.png")
    x, y = (round(float(value)) for value in found.point_coords[0])
    # The grid's cells are 8 pixels of the photo or more: a cell on the edge still shows the disc.
    near = (columns - (50 if is_left else 150)) ** 2 + (rows - 50) ** 2 < 40**2
    assert near[y, x]
