"""The segmenter: photos in as SAM wants them, prompts scaled, masks back at the photo's size."""

import numpy as np
import pytest
import torch
from PIL import Image
from sam_models import random_sam, random_segmenter, scene
from torch.nn.functional import interpolate

from persam_dreambooth.sam.preprocessing import PIXEL_MEAN, PIXEL_STD, preprocess, resized_size
from persam_dreambooth.sam.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter():
    return random_segmenter()


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((700, 1201), 1024, (597, 1024)),
        ((1201, 700), 1024, (1024, 597)),
        ((256, 256), 1024, (1024, 1024)),
        ((3, 4), 2, (2, 2)),  # 1.5 rows: halves are rounded up
        ((5, 4), 2, (2, 2)),  # 1.6 columns
        ((1, 5000), 128, (1, 128)),
    ],
)
def test_the_longer_side_becomes_the_models(size, long_side, expected):
    assert resized_size(size, long_side) == expected


@pytest.mark.parametrize(("height", "width"), [(40, 64), (300, 211), (128, 128)])
def test_photos_are_preprocessed_as_sam_does(height, width):
    pixels, _ = scene(height, width)
    values = preprocess(pixels, 128)
    input_height, input_width = resized_size((height, width), 128)
    resized = np.asarray(
        Image.fromarray(pixels).resize((input_width, input_height), Image.Resampling.BILINEAR)
    )
    expected = (torch.from_numpy(resized.copy()).float() - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    assert values.shape == (1, 3, 128, 128)
    assert torch.equal(values[0, :, :input_height, :input_width], expected.permute(2, 0, 1))
    assert values[0, :, input_height:].abs().sum() == 0
    assert values[0, :, :, input_width:].abs().sum() == 0


@pytest.mark.parametrize(("image_size", "patch_size"), [(128, 8), (96, 16)])
def test_sizes_come_from_the_model(image_size, patch_size):
    segmenter = Segmenter(random_sam(image_size=image_size, patch_size=patch_size))
    embedding = segmenter.encode(scene(50, 80)[0])
    cells = image_size // patch_size
    assert embedding.features.shape == (1, 32, cells, cells)
    assert embedding.features.dtype == torch.float32
    assert (embedding.size, embedding.input_size) == ((50, 80), (image_size * 5 // 8, image_size))
    prompt = {"point_coords": torch.tensor([[3.0, 4.0]]), "point_labels": torch.tensor([1])}
    three = segmenter.decode(embedding, **prompt)
    assert three.low_res_logits.shape == (3, 4 * cells, 4 * cells)
    assert three.iou_predictions.shape == (3,)
    again = segmenter.decode(embedding, **prompt, mask_input=three.low_res_logits[:1], multimask_output=False)
    assert again.low_res_logits.shape == (1, 4 * cells, 4 * cells)
    assert segmenter.mask_logits(three.low_res_logits, embedding).shape == (3, 50, 80)


def test_points_and_boxes_are_scaled_to_the_resized_photo(segmenter):
    embedding = segmenter.encode(scene(90, 250)[0])  # becomes 46 x 128
    prompts = {}

    def remember(_module, _args, kwargs):
        prompts.update(kwargs)

    handle = segmenter.model.prompt_encoder.register_forward_pre_hook(remember, with_kwargs=True)
    try:
        segmenter.decode(
            embedding,
            point_coords=torch.tensor([[100.0, 45.0]]),
            point_labels=torch.tensor([1]),
            box=torch.tensor([0.0, 9.0, 249.0, 89.0]),
        )
    finally:
        handle.remove()
    scale_x, scale_y = 128 / 250, 46 / 90
    torch.testing.assert_close(prompts["input_points"], torch.tensor([[[[100 * scale_x, 45 * scale_y]]]]))
    expected = torch.tensor([[[0, 9 * scale_y, 249 * scale_x, 89 * scale_y]]])
    torch.testing.assert_close(prompts["input_boxes"], expected)


def test_a_box_takes_the_place_of_the_padding_point(segmenter):
    embedding = segmenter.encode(scene(64, 64)[0])
    counts = []

    def count(_module, _args, kwargs):
        counts.append(kwargs["sparse_prompt_embeddings"].shape[2])

    points = {"point_coords": torch.tensor([[9.0, 9.0], [3.0, 4.0]]), "point_labels": torch.tensor([1, 0])}
    box = torch.tensor([1.0, 2.0, 30.0, 40.0])
    handle = segmenter.model.mask_decoder.register_forward_pre_hook(count, with_kwargs=True)
    try:
        segmenter.decode(embedding, **points)
        segmenter.decode(embedding, **points, box=box)
        segmenter.decode(embedding, box=box)
    finally:
        handle.remove()
    assert counts == [3, 4, 2]


def test_masks_come_back_through_the_padded_square(segmenter):
    embedding = segmenter.encode(scene(45, 90)[0])
    low_res_logits = torch.randn(2, 64, 64)
    square = interpolate(low_res_logits[None], (128, 128), mode="bilinear")
    expected = interpolate(square[:, :, :64, :128], (45, 90), mode="bilinear")[0]
    assert torch.equal(segmenter.mask_logits(low_res_logits, embedding), expected)


def test_autocast_outside_changes_nothing(segmenter):
    pixels, _ = scene(64, 64)
    prompt = {"point_coords": torch.tensor([[9.0, 9.0]]), "point_labels": torch.tensor([1])}
    plain = segmenter.decode(segmenter.encode(pixels), **prompt)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = segmenter.decode(segmenter.encode(pixels), **prompt)
    assert torch.equal(plain.low_res_logits, inside.low_res_logits)


def test_the_toy_is_there_and_sees_whole_photos():
    segmenter = Segmenter.load("toy")
    embedding = segmenter.encode(scene(60, 80)[0])
    assert embedding.size == (60, 80)
    assert max(embedding.input_size) == segmenter.input_length
    assert embedding.features.shape[0] == 1
    assert segmenter.supports_guidance
