"""How the embedded models are trained: losses worked by hand, resuming, scenes on disk."""

import json
import math
from random import Random

import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from torch import nn

from persam_dreambooth.toyworld.scene import render
from persam_dreambooth.toyworld.training import data, vae
from persam_dreambooth.toyworld.training.diffusion import NOISE_SCHEDULE, diffusion_losses
from persam_dreambooth.toyworld.training.loop import WARMUP_STEPS, Trainee, train
from persam_dreambooth.toyworld.training.sam import (
    MINIMUM_AREA,
    PADDING,
    TARGETS_PER_PHOTO,
    cut_to_side,
    loose_box,
    mask_losses,
    random_targets,
)


def test_sams_loss_is_that_of_the_best_mask_worked_by_hand():
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    sign = 2 * target[0] - 1
    # Every pixel's probability of being right: 1/2, 3/4, 1/4.
    logits = torch.stack([0 * sign, math.log(3) * sign, -math.log(3) * sign])[None]
    terms = mask_losses(logits.requires_grad_(), torch.tensor([[0.0, 1.0, 0.5]]), target)
    loss, found = terms["masks"], {name: term.detach() for name, term in terms.items()}
    # focal: alpha 1/2 of every pixel; dice: 2 x 0.75 + 1 over 1.5 + 1 + 1.
    focal = 0.5 * 0.25**2 * math.log(4 / 3)
    dice = 1 - 2.5 / 3.5
    assert float(found["masks"]) == pytest.approx(20 * focal + dice, rel=1e-6)
    # IoUs are 0 (nothing found), 1 and 0 (all but the pixel); only the third guess is wrong.
    assert float(found["iou_error"]) == pytest.approx(0.5**2 / 3)
    assert float(found["best_iou"]) == 1
    assert float(found["loss"]) == pytest.approx(20 * focal + dice + 0.25 / 3, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 1].abs().min() > 0
    assert not gradient[0, [0, 2]].any()


def test_sams_loss_is_taken_at_the_targets_size():
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    ious = torch.rand(2, 3, generator=torch.Generator().manual_seed(2))
    target = torch.zeros(2, 8, 8)
    target[:, 2:5, 3:7] = 1
    enlarged = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")
    for name, term in mask_losses(logits, ious, target).items():
        assert float(term) == pytest.approx(float(mask_losses(enlarged, ious, target)[name]), rel=1e-6)


def test_every_target_takes_its_own_best_mask():
    generator = torch.Generator().manual_seed(0)
    logits, ious = torch.randn(4, 3, 8, 8, generator=generator), torch.rand(4, 3, generator=generator)
    target = (torch.rand(4, 8, 8, generator=generator) > 0.6).float()
    single = [
        [float(mask_losses(logits[n : n + 1, k : k + 1], ious[n : n + 1, :1], target[n : n + 1])["masks"])]
        for n in range(4)
        for k in range(3)
    ]
    expected = np.array(single).reshape(4, 3).min(1).mean()
    assert float(mask_losses(logits, ious, target)["masks"]) == pytest.approx(expected, rel=1e-5)


def test_the_diffusion_loss_is_the_min_snr_formula():
    tokenizer = tiny_pipelines.build_tokenizer()
    model = nn.ModuleDict(
        {"unet": tiny_pipelines.build_unet(), "text_encoder": tiny_pipelines.build_text_encoder(tokenizer)}
    )
    schedule = {name: value for name, value in NOISE_SCHEDULE.items() if name != "steps_offset"}
    latents = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    padded = {"padding": "max_length", "max_length": tiny_pipelines.MAX_TOKENS}
    ids = torch.tensor(tokenizer(["a photo of sks cat"] * 6, **padded).input_ids)
    shares = torch.linspace(0, 1, 16).view(1, 4, 4).expand(6, 4, 4)
    rng = torch.Generator().manual_seed(2)
    found = diffusion_losses(model, DDPMScheduler(**schedule), latents, ids, shares, rng)

    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = torch.randint(1000, (6,), generator=generator)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = (1 - betas).cumprod(0)[timesteps]
    noisy = alphas.sqrt()[:, None, None, None] * latents + (1 - alphas).sqrt()[:, None, None, None] * noise
    with torch.autocast("cpu", torch.bfloat16):
        prompt_embeds = model["text_encoder"](ids).last_hidden_state
        prediction = model["unet"](noisy, timesteps, prompt_embeds).sample.detach().float()
    squares = ((prediction - noise) ** 2).mean(1)
    errors = [float(square.mean()) for square in squares]
    # A cell without subject counts once, one that is all subject three times.
    counted = [float((squares[k] * (1 + 2 * shares[k])).mean()) for k in range(6)]
    snr = [float(a / (1 - a)) for a in alphas]
    weights = [min(ratio, 5) / ratio for ratio in snr]
    # Of these timesteps some are so clean that they are weighted down, and some are not.
    assert min(weights) < 0.9
    assert max(weights) == 1
    assert found["mse"].item() == pytest.approx(np.mean(errors), rel=1e-3)
    assert found["loss"].item() == pytest.approx(np.mean(np.multiply(weights, counted)), rel=1e-3)
    found["loss"].backward()
    assert all(weight.grad is not None for weight in model["unet"].parameters())


def owner_and_layers(subject="cat"):
    scene = render(subject, "room", identity=3, seed=4)
    return scene, *data.owners_and_layers(scene)


def test_targets_are_the_subject_its_parts_or_things():
    scene, owner, layers = owner_and_layers()
    rng = np.random.default_rng(0)
    union = np.any(list(scene.parts.values()), axis=0)
    kinds = {"subject": 0, "part": 0, "parts": 0, "thing": 0}
    for _ in range(20):
        targets = random_targets(owner, layers, rng)
        assert len(targets) == TARGETS_PER_PHOTO
        for mask in targets:
            assert mask.sum() >= MINIMUM_AREA
            within = [part for part in scene.parts.values() if (part & mask).any()]
            if (mask == union).all():
                kinds["subject"] += 1
            elif within:
                assert (mask == np.any(within, axis=0)).all()
                kinds["part" if len(within) == 1 else "parts"] += 1
            else:
                assert any((mask == thing).all() for thing in scene.objects.values())
                kinds["thing"] += 1
    assert min(kinds.values()) > 0


def test_an_empty_place_gives_things_as_targets_and_no_things_the_backdrop():
    scene, owner, layers = owner_and_layers(subject=None)
    for mask in random_targets(owner, layers, np.random.default_rng(1)):
        assert any((mask == thing).all() for thing in scene.objects.values())
    bare = np.zeros((16, 16), np.uint8)
    assert all(mask.all() for mask in random_targets(bare, [], np.random.default_rng(1)))


def test_owners_tell_every_pixels_layer():
    scene, owner, layers = owner_and_layers()
    named = {**scene.objects, **scene.parts}
    assert [layer["name"] for layer in layers] == [*scene.objects, *scene.parts]
    assert [layer["of_subject"] for layer in layers] == [False] * len(scene.objects) + [True] * len(
        scene.parts
    )
    for number, layer in enumerate(layers, 1):
        np.testing.assert_array_equal(owner == number, named[layer["name"]])


def test_a_loose_box_is_near_the_tight_one_and_inside_the_picture():
    mask = np.zeros((128, 128), bool)
    mask[40:101, 30:121] = True
    rng = np.random.default_rng(0)
    boxes = np.array([loose_box(mask, rng) for _ in range(200)])
    off = np.abs(boxes - [30, 40, 120, 100])
    assert 60 < (off == 0).all(axis=1).sum() < 140
    assert 5 < off.max() <= 8
    assert boxes.min() >= 0
    assert boxes.max() <= 127
    mask[:] = True
    boxes = np.array([loose_box(mask, rng) for _ in range(20)])
    assert boxes.min() >= 0
    assert boxes.max() <= 127


def small_module():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def losses_of(trainee):
    def losses(step):
        inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
        error = trainee.module(inputs) - inputs.sum(1, keepdim=True)
        return {"loss": (error**2).mean(), "one": torch.ones(())}

    return losses


def run(folder, *stops):
    """Train in as many calls as there are stops; the trainee of the last call."""
    for steps in stops:
        trainee = Trainee(small_module(), folder, learning_rate=0.05, ema_decay=0.9)
        train(trainee, losses_of(trainee), steps=steps, log_every=4)
    return trainee


def test_a_stopped_training_ends_with_the_same_weights(tmp_path):
    whole, parts = run(tmp_path / "whole", 9), run(tmp_path / "parts", 3, 7, 9)
    assert (whole.step, parts.step) == (9, 9)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, parts.module.state_dict()[name]), name
        assert torch.equal(whole.average[name], parts.average[name]), name
    assert not list(tmp_path.rglob("*.partial"))


def test_the_log_holds_means_over_its_steps_also_after_a_resume(tmp_path):
    run(tmp_path, 3, 8)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8]
    assert [line["one"] for line in lines] == [1, 1]
    # The checkpoint remembers no sums: after it, the first line is about the fourth step alone.
    trainee = run(tmp_path / "first", 3)
    alone = float(losses_of(trainee)(3)["loss"].detach())
    assert lines[0]["loss"] == pytest.approx(alone, abs=1e-5)


def test_the_moving_average_worked_by_hand(tmp_path):
    trainee = Trainee(nn.Linear(1, 1, bias=False), tmp_path, learning_rate=1.0, ema_decay=0.2)
    weights = [float(trainee.module.weight.detach())]
    averages = []
    for _ in range(3):
        trainee.update(trainee.module(torch.ones(1, 1)).sum())
        weights.append(float(trainee.module.weight.detach()))
        averages.append(float(trainee.average["weight"]))
    # The decay after step n is (1 + n) / (10 + n), at most ema_decay: 2/11, then 0.2 instead of 3/12.
    first = 2 / 11 * weights[0] + 9 / 11 * weights[1]
    second = 0.2 * first + 0.8 * weights[2]
    third = 0.2 * second + 0.8 * weights[3]
    np.testing.assert_allclose(averages, [first, second, third], rtol=1e-5)
    # The first step's rate is one part of the warm-up, and Adam's first step is as long as the rate.
    assert weights[0] - weights[1] == pytest.approx(1 / WARMUP_STEPS, rel=0.02)
    assert float(trainee.averaged().weight.detach()) == pytest.approx(averages[-1])


def test_shards_come_back_as_they_were_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD_SIZE", 2)
    for number in range(2):
        data.write_shard(tmp_path / f"shard-{number:03d}.npz", number)
    (tmp_path / "shard-002.partial.npz").write_bytes(b"cut off")
    shards = data.read_shards(tmp_path)
    scenes = []
    for number in range(2):
        rng = Random(f"shard {number} False")
        scenes += [data.random_scene(rng) for _ in range(2)]
    assert len(shards.records) == 4
    for k, scene in enumerate(scenes):
        owner, layers = data.owners_and_layers(scene)
        np.testing.assert_array_equal(shards.images[k], scene.image)
        np.testing.assert_array_equal(shards.owners[k], owner)
        told = {name: getattr(scene, name) for name in ("caption", "subject", "background", "identity")}
        assert shards.records[k] == {**told, "layers": layers}
    assert len(data.read_shards(tmp_path, limit=1).records) == 2
    with pytest.raises(FileNotFoundError, match="no shards; render some with"):
        data.read_shards(tmp_path / "nowhere")


def test_small_pixel_values_are_means_of_four_pixels():
    images = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    values = data.small_pixel_values(images)
    assert values.shape == (1, 3, 64, 64)
    expected = images[0, 10:12, 20:22, 1].astype(float).mean() / 127.5 - 1
    assert float(values[0, 1, 5, 10]) == pytest.approx(expected, abs=1e-6)


def test_training_the_decoder_alone_leaves_the_latents_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD_SIZE", 2)
    data.write_shard(tmp_path / "data" / "shard-000.npz", 0)
    command = ["vae", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "vae"), "--batch_size", "2"]
    monkeypatch.setattr("sys.argv", [*command, "--steps", "2"])
    vae.main()
    before = AutoencoderKL.from_pretrained(tmp_path / "vae" / "model")
    monkeypatch.setattr("sys.argv", [*command, "--steps", "4", "--decoder_only"])
    vae.main()
    after = AutoencoderKL.from_pretrained(tmp_path / "vae" / "model")
    assert after.config.scaling_factor == before.config.scaling_factor != 0.18215
    old, new = before.state_dict(), after.state_dict()
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_a_photo_cut_to_a_part_of_one_side_keeps_its_pixels_with_their_owners():
    rows, columns = np.mgrid[:16, :16].astype(np.uint8)
    images = np.stack([rows, columns, rows], -1)[None].repeat(2, 0)
    owners = (images[..., 0] + images[..., 1]) % 5
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(40):
        cut, owned = cut_to_side(images, owners, rng)
        inside = owned != PADDING
        height, width = int(inside[0].any(1).sum()), int(inside[0].any(0).sum())
        assert inside[:, :height, :width].all()
        assert inside.sum() == 2 * height * width
        assert 8 <= min(height, width) < max(height, width) == 16
        top, left = cut[0, 0, 0, :2]
        assert (cut[:, :height, :width] == images[:, top : top + height, left : left + width]).all()
        assert (owned[inside] == owners[:, top : top + height, left : left + width].ravel()).all()
        kinds.add((height < width, top + left > 0))
    assert len(kinds) == 4
    assert PADDING not in owners
