"""The models of a comparison: found where they lie, refused where they are another base's, loaded whole."""

import pytest
import torch
from comparison_cases import other_folder, write_lora, write_run
from safetensors.torch import save_file
from tiny_pipelines import tiny_folder, tiny_models

from persam_dreambooth.diffusion.adapters import KOHYA_FILE, LORA_FILE
from persam_dreambooth.diffusion.low_rank import has_lora
from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.arms import (
    check_arm,
    checkpoints_of,
    find_arm,
    load_arm,
    parse_arms,
)
from persam_dreambooth.leakage.model_files import check_same_base, find_folder, weight_distance


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "full": write_run(folder / "full", steps=(1, 2)),
        "lora": write_lora(folder / "lora", steps=(1,)),
    }


@pytest.fixture
def base():
    return find_folder(str(tiny_folder()), "--base")


@torch.no_grad()
def prediction(models):
    latents = torch.ones(1, 4, 4, 4)
    return models.unet(latents, 10, torch.ones(1, 3, 16), return_dict=False)[0]


def test_every_form_of_a_trained_model_is_found(runs):
    kinds = {
        str(runs["full"]): "pipeline",
        str(runs["full"] / "checkpoint-1"): "weights",
        str(runs["lora"]): "lora",
        str(runs["lora"] / LORA_FILE): "lora",
        str(runs["lora"] / KOHYA_FILE): "lora",
        "somebody/something": "pipeline",
    }
    for place, kind in kinds.items():
        assert find_arm("one", place).kind == kind
    assert find_arm("one", str(runs["full"])).run == runs["full"]
    assert find_arm("one", str(runs["lora"] / LORA_FILE)).run is None


def test_what_is_loaded_is_what_was_trained(runs, base):
    before = prediction(tiny_models())
    seen = {}
    for name, place in (
        ("full", runs["full"]),
        ("step", runs["full"] / "checkpoint-1"),
        ("lora", runs["lora"]),
        ("kohya", runs["lora"] / KOHYA_FILE),
    ):
        arm = find_arm(name, str(place))
        check_arm(arm, base)
        seen[name] = prediction(load_arm(arm, base))
        assert not torch.allclose(seen[name], before, atol=1e-3)
    assert torch.allclose(seen["lora"], seen["kohya"], atol=1e-5)
    assert not torch.allclose(seen["full"], seen["step"], atol=1e-3)
    assert torch.equal(prediction(tiny_models()), before)


def test_a_pipeline_without_text_encoders_takes_the_bases(runs, base, tmp_path):
    folder = other_folder(tmp_path / "without")
    for name in ("text_encoder", "tokenizer"):
        (folder / name).rename(tmp_path / name)
    arm = find_arm("one", str(folder))
    assert arm.kind == "weights"
    assert torch.equal(prediction(load_arm(arm, base)), prediction(tiny_models()))


def test_checkpoints_come_by_their_steps(runs, base):
    full = checkpoints_of(find_arm("one", str(runs["full"])))
    assert [(arm.step, arm.kind, arm.name) for arm in full] == [(1, "weights", "one"), (2, "weights", "one")]
    (lora,) = checkpoints_of(find_arm("two", str(runs["lora"])))
    assert (lora.step, lora.kind) == (1, "lora")
    assert has_lora(load_arm(lora, base).unet)
    assert checkpoints_of(find_arm("one", str(runs["lora"] / LORA_FILE))) == []


def test_a_digest_follows_what_is_drawn_and_nothing_else(runs, base):
    places = [runs["full"], runs["full"] / "checkpoint-1", runs["full"] / "checkpoint-2", runs["lora"]]
    digests = [find_arm("one", str(place)).digest(base) for place in places]
    assert len({*digests, base.digest}) == 5
    assert find_arm("another", str(runs["full"])).digest(base) == digests[0]
    other = find_folder(str(tiny_folder("sd_v")), "--base")
    assert find_arm("one", str(runs["lora"])).digest(other) != digests[3]


def test_how_far_weights_are_from_the_bases(runs, base, tmp_path):
    own = base.path / "unet"
    assert weight_distance(own, own) == 0
    near = weight_distance(own, runs["full"] / "unet")
    assert 0.05 < near < 0.5
    assert weight_distance(own, tmp_path) is None


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("sdxl", {}, "of the family sdxl, --base .* of sd; a model that was trained from the base"),
        ("sd", {"cross_attention_dim": 32}, r"its UNet has cross_attention_dim 32, that of --base .* 16"),
        ("sd", {"sample_size": 8}, r"draws pictures of another size than --base .* \(sample_size 8 and 4\)"),
        ("sd_v", {}, "its UNet has|predicts something else than --base"),
    ],
)
def test_a_model_of_another_base_is_refused(base, tmp_path, kind, changes, said):
    folder = other_folder(tmp_path / "other", kind, **changes)
    with pytest.raises(
        UserError, match=rf"^--model one={folder}: ({said}).*Give the base that it was trained"
    ):
        check_arm(find_arm("one", str(folder)), base)


def test_a_model_that_only_has_the_same_shape_is_refused(base, tmp_path):
    folder = write_run(tmp_path / "foreign", by=2.0)
    with pytest.raises(UserError, match=r"its UNet has nothing in common with that of --base .* distance"):
        check_same_base(base, find_folder(str(folder), "--model"), "--model one=foreign")


def test_adapters_of_another_model_are_refused(base, tmp_path):
    arm = find_arm("one", str(write_lora(tmp_path / "xl", "sdxl")))
    with pytest.raises(
        UserError, match=rf"^--model one={tmp_path / 'xl'}: its adapter of .* is for 32 inputs"
    ):
        check_arm(arm, base)
    with pytest.raises(UserError, match=rf"^{arm.flag}: does not fit --base"):
        load_arm(arm, base)


def test_a_file_that_holds_no_adapters_is_refused(base, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"something": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"does not fit --base .*; what was trained from the base is needed"):
        load_arm(find_arm("one", str(path)), base)
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match=rf"^--model one={path}: cannot be read .*; a LoRA file is needed"):
        check_arm(find_arm("one", str(path)), base)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "^--model: none given; at least one is needed"),
        (("output/cat",), r"^--model output/cat: no name=RUN"),
        (("=output/cat",), r"^--model =output/cat: no name=RUN"),
        (("base=x",), r"^--model base=x: `base` is the name of the model before training"),
        (("a/b=x",), r"^--model a/b=x: 'a/b' cannot be a folder's name"),
        (("one=somebody/x", "One=somebody/y"), r"^--model One=somebody/y: the name One is given twice"),
        (("one=/nowhere/cat",), r"^--model one=/nowhere/cat: no such file or folder; a run's --output_dir"),
    ],
)
def test_names_that_cannot_be(values, said):
    with pytest.raises(UserError, match=said):
        parse_arms(values)


def test_places_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"empty; a run's --output_dir.*Finish the training"):
        find_arm("one", str(tmp_path))
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(UserError, match="no finished training and no model in it"):
        find_arm("one", str(tmp_path))
    (tmp_path / "model.ckpt").write_text("")
    with pytest.raises(UserError, match=r"a .ckpt; a run's --output_dir"):
        find_arm("one", str(tmp_path / "model.ckpt"))
    with pytest.raises(UserError, match=r"Did you mean .*model\.ckpt"):
        find_arm("one", str(tmp_path / "model.ckp"))
