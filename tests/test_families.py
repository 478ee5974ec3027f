"""Every SAM of transformers behind the same calls: equal to the stock pipeline, loaded as published."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sam_families import RANDOM_MODELS
from sam_models import relative_difference, scene
from torch.nn.functional import interpolate
from transformers import SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from persam_dreambooth.errors import UserError
from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.sam.families import family_of
from persam_dreambooth.sam.segmenter import Segmenter

PADDED = ("sam", "sam_hq")
SQUEEZED = ("sam2", "sam3_tracker", "edgetam")
SIZES = [(90, 128), (150, 107), (64, 64)]

POINTS = torch.tensor([[40.0, 33.0], [7.0, 61.0]])
LABELS = torch.tensor([1, 0])
BOX = torch.tensor([3.0, 4.0, 50.0, 60.0])


@pytest.fixture(scope="module")
def segmenters():
    return {name: Segmenter(build()) for name, build in RANDOM_MODELS.items()}


def stock_outputs(model, inputs, several):
    with torch.no_grad():
        return model(**inputs, multimask_output=several)


def in_order_of_iou(masks, iou):
    order = iou.argsort(descending=True)
    return masks[order], iou[order]


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PADDED)
def test_padded_families_are_transformers_pipeline(segmenters, name, size, several):
    segmenter, stock = segmenters[name], RANDOM_MODELS[name]()
    side = segmenter.input_length
    square = {"height": side, "width": side}
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": side}, pad_size=square))
    pixels, _ = scene(*size)
    inputs = processor(
        images=pixels,
        input_points=[[POINTS.tolist()]],
        input_labels=[[LABELS.tolist()]],
        input_boxes=[[BOX.tolist()]],
        return_tensors="pt",
    )
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
    output = stock_outputs(stock, inputs, several)
    masks = processor.post_process_masks(output.pred_masks, *sizes, binarize=False, pad_size=square)[0][0]
    embedding = segmenter.encode(pixels)
    decoded = segmenter.decode(
        embedding, point_coords=POINTS, point_labels=LABELS, box=BOX, multimask_output=several
    )
    ours = segmenter.mask_logits(decoded.low_res_logits, embedding)
    # SamHQ's pipeline sorts its masks; ours are in the order of the mask tokens.
    ours, iou = in_order_of_iou(ours, decoded.iou_predictions)
    masks, stock_iou = in_order_of_iou(masks, output.iou_scores[0, 0])
    assert relative_difference(ours, masks) < 1e-3
    assert relative_difference(iou, stock_iou) < 1e-3
    assert relative_difference(segmenter.preprocess(pixels), inputs["pixel_values"]) < 1e-6


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SQUEEZED)
def test_squeezed_families_are_transformers_pipeline(segmenters, name, size, several):
    # Their processors need torchvision: what they do to prompts and masks is written out, the pixels below.
    segmenter, stock = segmenters[name], RANDOM_MODELS[name]()
    pixels, _ = scene(*size)
    scale = segmenter.input_length / torch.tensor([size[1], size[0]])
    inputs = {
        "pixel_values": segmenter.preprocess(pixels),
        "input_points": (POINTS * scale)[None, None],
        "input_labels": LABELS[None, None],
        "input_boxes": (BOX.reshape(2, 2) * scale).reshape(1, 1, 4),
    }
    output = stock_outputs(stock, inputs, several)
    masks = interpolate(output.pred_masks[0], size, mode="bilinear", align_corners=False)[0]
    embedding = segmenter.encode(pixels)
    decoded = segmenter.decode(
        embedding, point_coords=POINTS, point_labels=LABELS, box=BOX, multimask_output=several
    )
    assert relative_difference(decoded.low_res_logits, output.pred_masks[0, 0]) < 1e-4
    assert relative_difference(decoded.iou_predictions, output.iou_scores[0, 0]) < 1e-4
    assert relative_difference(segmenter.mask_logits(decoded.low_res_logits, embedding), masks) < 1e-4


@pytest.mark.parametrize("size", [(90, 128), (300, 211), (20, 50)])
@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("sam2", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("edgetam", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("sam3_tracker", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_squeezed_families_see_the_whole_photo_as_a_square(segmenters, name, mean, std, size):
    segmenter = segmenters[name]
    pixels, _ = scene(*size)
    side = segmenter.input_length
    values = segmenter.preprocess(pixels)[0].permute(1, 2, 0) * torch.tensor(std) + torch.tensor(mean)
    resized = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
    levels = (values * 255 - torch.from_numpy(resized.copy())).abs()
    # Pillow and torch round intermediate values apart: by at most one grey level.
    assert levels.max() < 1.01
    assert (values * 255 - (values * 255).round()).abs().max() < 1e-3
    assert segmenter.encode(pixels).input_size == (side, side)


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_a_saved_model_is_loaded_by_its_type(tmp_path, name):
    model = RANDOM_MODELS[name]()
    model.save_pretrained(tmp_path / name)
    loaded = Segmenter.load(str(tmp_path / name))
    assert type(loaded.model) is type(model)
    pixels, _ = scene(90, 128)
    embedding, expected = loaded.encode(pixels), Segmenter(model).encode(pixels)
    assert torch.equal(embedding.features, expected.features)
    assert len(embedding.fine_features) == len(expected.fine_features) == {"sam": 0, "sam_hq": 1}.get(name, 2)


@pytest.mark.parametrize("name", ["sam2", "edgetam"])
def test_image_models_are_taken_out_of_video_models(tmp_path, name, capsys):
    model = RANDOM_MODELS[name]()
    model.save_pretrained(tmp_path)
    capsys.readouterr()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": f"{name}_video"}))
    weights = load_file(tmp_path / "model.safetensors")
    weights["memory_attention.layers.0.linear1.weight"] = torch.zeros(3)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    pixels, _ = scene(64, 80)
    features = Segmenter.load(str(tmp_path)).encode(pixels).features
    assert torch.equal(features, Segmenter(model).encode(pixels).features)
    assert capsys.readouterr() == ("", "")


def published_name(name):
    """Return the name that a weight of the tracker has in the whole Sam3."""
    if name.startswith("vision_encoder.backbone."):
        return f"detector_model.{name}"
    if name.startswith("vision_encoder.neck."):
        return name.replace("vision_encoder.neck.", "tracker_neck.")
    return f"tracker_model.{name}"


def test_the_tracker_is_taken_out_of_sam3(tmp_path):
    model = RANDOM_MODELS["sam3_tracker"]()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "sam3_tracker_video"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_video", "tracker_config": config}))
    published = {"detector_model.text_encoder.weight": torch.zeros(2)}
    for name, value in model.state_dict().items():
        published[published_name(name)] = value.contiguous()
    save_file(published, tmp_path / "model.safetensors", metadata={"format": "pt"})
    pixels, _ = scene(64, 80)
    features = Segmenter.load(str(tmp_path)).encode(pixels).features
    assert torch.equal(features, Segmenter(model).encode(pixels).features)


def test_edgetam_without_its_encoders_package_is_refused(tmp_path):
    if find_spec("timm"):
        pytest.skip("timm is installed here")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "edgetam_video"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"^--sam .*: a package .* cannot be imported \(.*timm.*\); .* timm and torchvision"
    ):
        Segmenter.load(str(tmp_path))


def test_sam_hqs_masks_come_in_the_order_of_its_tokens(segmenters):
    segmenter = segmenters["sam_hq"]
    embedding = segmenter.encode(scene(90, 128)[0])
    head = segmenter.model.mask_decoder.iou_prediction_head
    predicted = []
    handle = head.register_forward_hook(lambda _module, _args, output: predicted.append(output))
    moved = 0
    try:
        for x in range(5, 125, 12):
            decoded = segmenter.decode_points(embedding, torch.tensor([[float(x), 40.0], [30.0, x / 2]]))
            assert torch.equal(decoded.iou_predictions, predicted[-1][0, :, 1:])
            moved += int((decoded.iou_predictions.argmax(dim=1) > 0).sum())
    finally:
        handle.remove()
    assert moved > 0  # else sorted order and the tokens' were the same


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_clicks_in_a_batch_are_clicks_one_by_one(segmenters, name):
    segmenter = segmenters[name]
    embedding = segmenter.encode(scene(90, 128)[0])
    clicks = torch.tensor([[40.0, 33.0], [7.0, 61.0], [120.0, 3.0]])
    together = segmenter.decode_points(embedding, clicks)
    for i, click in enumerate(clicks):
        alone = segmenter.decode(embedding, point_coords=click[None], point_labels=torch.tensor([1]))
        assert relative_difference(together.low_res_logits[i], alone.low_res_logits) < 1e-4
        assert relative_difference(together.iou_predictions[i], alone.iou_predictions) < 1e-4


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_photos_in_a_batch_are_photos_one_by_one(segmenters, name):
    segmenter = segmenters[name]
    photos = [scene(90, 128)[0], scene(64, 40, seed=1)[0]]
    for photo, embedding in zip(photos, segmenter.encode_batch(photos), strict=True):
        alone = segmenter.encode(photo)
        assert (embedding.size, embedding.input_size) == (alone.size, alone.input_size)
        assert relative_difference(embedding.features, alone.features) < 1e-4
        for level, expected in zip(embedding.fine_features, alone.fine_features, strict=True):
            assert relative_difference(level, expected) < 1e-4


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_the_encoder_may_compute_in_bfloat16(segmenters, name):
    pixels, _ = scene(90, 128)
    reduced = Segmenter(RANDOM_MODELS[name](), encoder_dtype=torch.bfloat16).encode(pixels)
    whole = segmenters[name].encode(pixels)
    assert {level.dtype for level in (reduced.features, *reduced.fine_features)} == {torch.float32}
    assert 0 < relative_difference(reduced.features, whole.features) < 0.1


@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_every_family_can_be_guided_and_attends_with_fused_kernels(segmenters, name):
    segmenter = segmenters[name]
    assert segmenter.supports_guidance
    assert segmenter.model.vision_encoder.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("method", [persam, persam_f])
@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_persam_runs_on_every_family(segmenters, name, method):
    segmenter = segmenters[name]
    pixels, mask = scene(90, 128)
    reference = Reference(segmenter.encode(pixels), mask, "reference")
    target = method.fit(segmenter, [reference])
    found = method.find(segmenter, segmenter.encode(scene(70, 100, seed=1)[0]), target, "photo")
    assert found.mask.shape == (70, 100)
    assert 0 < found.mask.float().mean() < 1
    assert torch.isfinite(target.direction).all()


def test_a_decoder_of_another_kind_cannot_be_guided():
    segmenter = Segmenter(RANDOM_MODELS["sam"]())
    segmenter.model.mask_decoder.transformer = torch.nn.Identity()
    assert not segmenter.supports_guidance


def test_a_model_of_no_family_is_a_programming_error():
    with pytest.raises(TypeError, match=r"SimpleNamespace is none of \['SamModel', "):
        family_of(SimpleNamespace())
