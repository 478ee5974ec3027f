"""Original checkpoints: read safely, sizes inferred, equal to the original, refused in one line."""

import pickle
from pathlib import Path

import pytest
import torch
from original_sam import OriginalSam, live_sam, original_weights
from sam_models import random_sam, relative_difference, scene

from persam_dreambooth.errors import UserError
from persam_dreambooth.sam.original import sam_from_original, sam_from_original_weights
from persam_dreambooth.sam.segmenter import Segmenter, model_digest

VARIANTS = {
    "windows in the way": {},
    "wider, other patches": {
        "width": 48,
        "heads": 3,
        "patch_size": 16,
        "grid": 6,
        "window": 4,
        "channels": 64,
    },
    "windows larger than the picture": {"depth": 3, "window": 14, "whole": (0, 2), "mask_channels": 8},
    "no windows": {"whole": (0, 1)},
    "only windows": {"whole": (), "window": 4},
}

POINTS = torch.tensor([[30.0, 20.0], [5.0, 50.0]])
LABELS = torch.tensor([1, 0])
BOX = torch.tensor([3.0, 4.0, 50.0, 40.0])


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "sam_vit_xs.pth"
    torch.save(original_weights(), path)
    return path


def in_float64(weights):
    return {name: value.double() for name, value in weights.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_and_logits_are_the_originals(variant):
    weights = in_float64(original_weights(**VARIANTS[variant]))
    original = OriginalSam(weights)
    model = sam_from_original_weights(dict(weights), "test").eval()
    side = model.config.vision_config.image_size
    pixel_values = torch.randn(1, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        features = model.get_image_embeddings(pixel_values)
        assert relative_difference(features, original.encode(pixel_values)) < 1e-10
        mask = None
        for box in (None, BOX):
            prompts = {
                "input_points": POINTS[None, None].double(),
                "input_labels": LABELS[None, None],
                "input_boxes": None if box is None else box[None, None].double(),
                "input_masks": mask,
            }
            outputs = [
                model(image_embeddings=features, multimask_output=several, **prompts)
                for several in (False, True)
            ]
            logits, iou = original.decode(
                features, POINTS.double(), LABELS, None if box is None else box.double(), mask
            )
            ours = torch.cat([output.pred_masks[0, 0] for output in outputs])
            assert relative_difference(ours, logits) < 1e-10
            assert relative_difference(torch.cat([o.iou_scores[0, 0] for o in outputs]), iou) < 1e-10
            mask = logits[None, :1]


def test_a_checkpoint_gives_the_originals_features_in_float32(checkpoint):
    segmenter = Segmenter.load(str(checkpoint))
    pixels, _ = scene(40, 60)
    embedding = segmenter.encode(pixels)
    original = OriginalSam(in_float64(original_weights()))
    features = original.encode(segmenter.preprocess(pixels).double())
    assert relative_difference(embedding.features.double(), features) < 1e-5


def test_sizes_are_read_off_the_weights():
    model = sam_from_original_weights(original_weights(**VARIANTS["wider, other patches"]), "test")
    vision = model.config.vision_config
    assert (vision.hidden_size, vision.num_attention_heads, vision.num_hidden_layers) == (48, 3, 2)
    assert (vision.image_size, vision.patch_size, vision.output_channels) == (96, 16, 64)
    assert (vision.window_size, list(vision.global_attn_indexes), vision.mlp_dim) == (4, [1], 144)
    assert model.config.prompt_encoder_config.image_size == 96
    assert model.config.mask_decoder_config.mlp_dim == 48
    assert model.config.mask_decoder_config.iou_head_hidden_dim == 40


def test_an_original_can_be_saved_as_a_folder(checkpoint, tmp_path):
    segmenter = Segmenter.load(str(checkpoint))
    segmenter.model.save_pretrained(tmp_path / "folder")
    again = Segmenter.load(str(tmp_path / "folder"))
    pixels, _ = scene(50, 60)
    embedding = segmenter.encode(pixels)
    assert torch.equal(embedding.features, again.encode(pixels).features)
    prompt = {"point_coords": POINTS, "point_labels": LABELS}
    expected = segmenter.decode(embedding, **prompt).low_res_logits
    assert torch.equal(again.decode(embedding, **prompt).low_res_logits, expected)


def test_a_live_model_is_taken_over():
    live = live_sam(original_weights())
    live.mask_decoder.transformer.layers[0].self_attn.num_heads = 4
    segmenter = Segmenter.from_original(live)
    pixels, _ = scene(40, 60)
    embedding = segmenter.encode(pixels)
    decoded = segmenter.decode(embedding, point_coords=POINTS, point_labels=LABELS)
    original = OriginalSam(in_float64(original_weights()), decoder_heads=4)
    scale = torch.tensor([64 / 60, 43 / 40])
    logits, _ = original.decode(embedding.features.double(), POINTS.double() * scale, LABELS)
    assert relative_difference(decoded.low_res_logits.double(), logits[1:]) < 1e-4


def test_weights_of_half_precision_and_within_a_training_checkpoint_are_read(tmp_path):
    path = tmp_path / "epoch_9.pth"
    half = {name: value.half() for name, value in original_weights().items()}
    torch.save({"model": half | {"pixel_mean": torch.zeros(3, 1, 1)}, "epoch": 9}, path)
    pixels, _ = scene(40, 60)
    features = Segmenter.load(str(path)).encode(pixels).features
    whole = Segmenter(sam_from_original_weights(original_weights(), "test")).encode(pixels).features
    assert features.dtype == torch.float32
    assert relative_difference(features, whole) < 0.02


def test_the_digest_of_a_checkpoint_follows_its_bytes(checkpoint):
    before = model_digest(str(checkpoint))
    assert before == model_digest(str(checkpoint))
    torch.save(original_weights(width=64), checkpoint)
    assert before != model_digest(str(checkpoint))


def refusal(path) -> str:
    with pytest.raises(UserError) as refused:
        Segmenter.load(str(path))
    text = str(refused.value)
    assert text.startswith(f"--sam {path}: ")
    assert "\n" not in text
    return text


def test_a_checkpoint_that_is_not_there_is_named():
    text = refusal("sam_vit_h_4b8939.pth")
    assert ": no such file; a SAM folder in transformers' format, a hub id, an original checkpoint" in text


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04 no archive"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "sam_vit_b.pth"
    path.write_bytes(content)
    assert "cannot be read as a checkpoint, or holds more than weights (" in refusal(path)


def test_a_checkpoint_that_is_cut_off_is_refused(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5000])
    assert "cannot be read as a checkpoint" in refusal(checkpoint)


class Program:
    """What a malicious checkpoint holds: unpickling it calls a function."""

    def __reduce__(self):
        return (Path("was_run.txt").write_text, ("code of the checkpoint was run",))


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sam_vit_b.pth"
    save({"weights": Program()}, path)
    assert "cannot be read as a checkpoint, or holds more than weights" in refusal(path)
    assert not (tmp_path / "was_run.txt").exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"model": {"epoch": 3}}, {0: torch.zeros(2)}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    assert "that is not tensors by name; weights of segment-anything's Sam" in refusal(path)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("image_encoder.layers.0.blocks.0.attn.attention_biases", "MobileSAM's"),
        ("mask_decoder.hf_token.weight", "SAM-HQ's"),
        ("sam_mask_decoder.iou_token.weight", "SAM 2's or EdgeTAM's"),
        ("vision_encoder.pos_embed", "transformers'"),
    ],
)
def test_other_models_files_are_told_by_name(tmp_path, name, owner):
    path = tmp_path / "model.pt"
    torch.save({name: torch.zeros(1)}, path)
    assert f"holds {owner} weights; weights of segment-anything's Sam" in refusal(path)


@pytest.mark.parametrize(
    ("lost", "text"),
    [
        ("mask_decoder.iou_token.weight", "1 of the weights are missing (mask_decoder.iou_token.weight)"),
        ("image_encoder.pos_embed", "image_encoder.pos_embed is missing"),
        ("image_encoder.blocks.0.attn.rel_pos_h", "image_encoder.blocks.0.attn.rel_pos_h is missing"),
    ],
)
def test_weights_that_are_incomplete_are_refused(tmp_path, lost, text):
    path = tmp_path / "part.pth"
    torch.save({name: value for name, value in original_weights().items() if name != lost}, path)
    assert text in refusal(path)


def test_weights_of_no_known_name_are_refused(tmp_path):
    path = tmp_path / "more.pth"
    torch.save(original_weights() | {"image_encoder.adapter.weight": torch.zeros(2)}, path)
    assert "vision_encoder.adapter.weight is no weight of the original SAM" in refusal(path)


def test_weights_that_do_not_fit_together_are_refused(tmp_path):
    path = tmp_path / "mixed.pth"
    weights = original_weights() | {"image_encoder.neck.3.bias": torch.zeros(5)}
    torch.save(weights, path)
    assert "the weights do not fit together (" in refusal(path)


@pytest.mark.parametrize("thing", [{"a": 1}, "sam_vit_b.pth", None])
def test_an_object_that_is_no_model_is_refused(thing):
    with pytest.raises(UserError, match=r"^segment_anything model: a \w+ was given; weights of .*\.model\.$"):
        sam_from_original(thing)


def test_a_live_model_of_another_kind_is_refused():
    with pytest.raises(UserError, match=r"^segment_anything model: holds transformers' weights; "):
        Segmenter.from_original(random_sam())
    with pytest.raises(UserError, match=r"^segment_anything model: image_encoder.* is missing; "):
        Segmenter.from_original(torch.nn.Linear(2, 2))
