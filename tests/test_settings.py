"""The records of settings: ranges, pairs, what follows from what is trained, and the hint about rates."""

import dataclasses
from pathlib import Path

import pytest

from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import (
    AdapterConfig,
    Config,
    DataConfig,
    MaskConfig,
    OptimizerConfig,
    ResultConfig,
    TrainConfig,
    ValidationConfig,
    caption_hint,
    rate_hint,
    resolve_defaults,
    resolve_train,
)

MANY = 860_000_000


def resolved(family, **train):
    return resolve_defaults(Config(train=TrainConfig(**train)), family)


@pytest.mark.parametrize(
    ("family", "use_lora", "rates", "decays"),
    [
        ("sd", False, (5e-6, 5e-6), (1e-2, 1e-2)),
        ("sdxl", False, (5e-6, 5e-6), (1e-2, 1e-2)),
        ("sd", True, (5e-4, 5e-4), (1e-2, 1e-2)),
        ("sdxl", True, (1e-4, 5e-6), (1e-4, 1e-3)),
    ],
)
def test_rates_and_decays_are_those_of_the_script_that_is_replaced(family, use_lora, rates, decays):
    train = resolved(family, use_lora=use_lora).train
    assert (train.learning_rate, train.text_encoder_lr) == rates
    assert (train.adam_weight_decay, train.adam_weight_decay_text_encoder) == decays


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("use_lora", [False, True])
def test_what_is_given_stays(family, use_lora):
    given = {"learning_rate": 0.5, "text_encoder_lr": 0.25, "adam_weight_decay": 0.0}
    train = TrainConfig(use_lora=use_lora, adam_weight_decay_text_encoder=0.125, **given)
    assert resolve_train(train, family) == train
    config = Config(
        output_dir=Path("here"),
        data=DataConfig(image_interpolation_mode="box"),
        masks=MaskConfig(use_persam=True, outside_prior_weight=0.0),
        validation=ValidationConfig(validation_epochs=3),
        train=train,
    )
    assert resolve_defaults(config, family) == config


@pytest.mark.parametrize(
    ("masks", "data", "weight"),
    [
        ({}, {}, 0.0),
        ({"use_persam": True}, {}, 1.0),
        ({"use_persam": True}, {"with_prior_preservation": True, "class_prompt": "a cat"}, 0.0),
        ({"use_persam": True, "outside_weight": 1.0}, {}, 0.0),
        ({"use_persam": True, "outside_prior_weight": 0.25}, {}, 0.25),
    ],
)
def test_the_outside_is_held_where_nothing_else_holds_it(masks, data, weight):
    config = Config(masks=MaskConfig(**masks), data=DataConfig(**data))
    assert resolve_defaults(config, "sd").masks.outside_prior_weight == weight


def test_text_encoders_follow_the_unet_where_only_that_is_given():
    train = resolved("sd", learning_rate=0.5, adam_weight_decay=0.25).train
    assert (train.text_encoder_lr, train.adam_weight_decay_text_encoder) == (0.5, 0.25)


def test_prodigy_finds_its_own_rate():
    for use_lora in (False, True):
        train = resolved("sdxl", use_lora=use_lora, optimizer="prodigy").train
        assert (train.learning_rate, train.text_encoder_lr) == (1.0, 1.0)


def test_what_else_depends_on_adapters():
    full, lora = resolved("sd"), resolved("sd", use_lora=True)
    assert (full.output_dir, lora.output_dir) == (Path("dreambooth-model"), Path("lora-dreambooth-model"))
    modes = (full.data.image_interpolation_mode, lora.data.image_interpolation_mode)
    assert modes == ("bilinear", "lanczos")
    assert (full.validation.validation_steps, full.validation.validation_epochs) == (100, None)
    assert (lora.validation.validation_steps, lora.validation.validation_epochs) == (None, 50)
    for config in (full, lora):
        assert resolve_defaults(config, "sd") == config


def test_resolving_leaves_nothing_open_that_depends_on_what_is_trained():
    train = dataclasses.asdict(resolved("sd").train)
    assert {name for name, value in train.items() if value is None} == {
        *("lora_alpha", "lora_layers", "prodigy_beta3"),
        *("max_train_steps", "num_train_epochs", "snr_gamma"),
    }


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"learning_rate": 1e-4}, "hint: --learning_rate 0.0001 is far above what a whole UNet bears"),
        ({"learning_rate": 1e-6, "use_lora": True}, "--learning_rate 1e-06 is far below what moves adapters"),
        ({"learning_rate": 9e-5}, None),
        ({"learning_rate": 2e-6, "use_lora": True}, None),
        ({"learning_rate": 1.0, "use_lora": True}, None),
        ({"learning_rate": 1.0, "optimizer": "prodigy"}, None),
    ],
)
def test_a_rate_far_off_is_answered_with_a_hint(train, words):
    hint = rate_hint(TrainConfig(**train), MANY)
    assert hint is None if words is None else words in hint
    assert rate_hint(TrainConfig(**train), 9_000_000) is None


@pytest.mark.parametrize("train", [{}, {"use_lora": True}, {"optimizer": "prodigy"}])
def test_defaults_need_no_hint(train):
    for family in ("sd", "sdxl"):
        assert rate_hint(resolved(family, **train).train, MANY) is None


WITHOUT = {"a/00.txt": "a photo of a cat on a sofa"}
WITH = {"a/01.txt": "Sks cat, on a sofa"}


@pytest.mark.parametrize(
    ("data", "captions", "seen", "words"),
    [
        ({}, {}, True, "hint: every photo is called 'a photo of sks cat'. Captions that also say where each"),
        # A place that is not shown cannot be named.
        ({}, {}, False, None),
        ({"class_prompt": "a photo of a cat"}, WITH, True, None),
        ({"identifier": "sks"}, WITH, False, None),
        ({"identifier": "sks"}, WITHOUT, True, "hint: a/00.txt: without the rare word of the prompt (sks), "),
        (
            {"class_prompt": "a photo of a cat"},
            WITHOUT | WITH,
            False,
            "hint: a/00.txt: without the rare word",
        ),
        ({"identifier": "sks"}, WITHOUT | {"b": "cat"} | WITH, True, "hint: a/00.txt and 1 more: without"),
        # Nothing says which word is the rare one.
        ({}, WITHOUT, True, None),
    ],
)
def test_captions_that_lack_the_place_or_the_rare_word_are_answered_with_a_hint(data, captions, seen, words):
    hint = caption_hint(DataConfig(**data), captions, background_seen=seen)
    assert hint is None if words is None else hint.startswith(words)


def test_readings_of_a_setting():
    assert TrainConfig(offset_noise=True).noise_shift == 0.1
    assert TrainConfig(noise_offset=0.05).noise_shift == 0.05
    assert TrainConfig().noise_shift == 0
    assert AdapterConfig(lora_layers=" to_q, to_out.0,").layers == ("to_q", "to_out.0")
    assert AdapterConfig().layers is None
    buckets = DataConfig(aspect_ratio_buckets="512,768; 768,512;").buckets
    assert buckets == ((512, 768), (768, 512))
    assert DataConfig().buckets is None
    drawn = ValidationConfig(validation_prompt="a", final_validation_prompt="b")
    assert drawn.final_prompt == "b"
    assert ValidationConfig(validation_prompt="a").final_prompt == "a"
    assert ValidationConfig(validation_prompt="a", skip_final_inference=True).final_prompt is None
    assert ValidationConfig().final_prompt is None


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TrainConfig(snr_gamma=0.0), r"--snr_gamma 0\.0: out of range; a value above 0"),
        (lambda: TrainConfig(noise_offset=-0.1), r"--noise_offset -0\.1: out of range; at least 0"),
        (
            lambda: TrainConfig(snr_gamma=5.0, do_edm_style_training=True),
            r"--snr_gamma 5\.0: not with --do_edm_style_training.* Drop the other\.",
        ),
        (
            lambda: TrainConfig(offset_noise=True, noise_offset=0.5),
            r"--offset_noise and --noise_offset 0\.5: both given; --offset_noise means 0\.1",
        ),
        (lambda: AdapterConfig(rank=0), r"--rank 0: out of range; at least 1"),
        (
            lambda: AdapterConfig(lora_dropout=1.0),
            r"--lora_dropout 1\.0: out of range; .* and below 1",
        ),
        (lambda: AdapterConfig(lora_layers=" , "), r"--lora_layers ' , ': no layer; comma-separated names"),
        (
            lambda: OptimizerConfig(text_encoder_lr=0.0),
            r"--text_encoder_lr 0\.0: out of range; a value",
        ),
        (
            lambda: OptimizerConfig(prodigy_beta3=1.0),
            r"--prodigy_beta3 1\.0: out of range; .* and below 1",
        ),
        (
            lambda: OptimizerConfig(adam_weight_decay_text_encoder=-1.0),
            r"--adam_weight_decay_text_encoder -1\.0: out of range; at least 0",
        ),
        (
            lambda: OptimizerConfig(optimizer="prodigy", use_8bit_adam=True),
            r"--use_8bit_adam: not with --optimizer prodigy; AdamW is needed",
        ),
        (
            lambda: DataConfig(caption_dropout=1.5),
            r"--caption_dropout 1\.5: out of range; .* at most 1",
        ),
        (lambda: DataConfig(repeats=0), r"--repeats 0: out of range; at least 1"),
        (
            lambda: DataConfig(dataset_name=Path("a"), instance_data_dir=Path("b")),
            r"--dataset_name and --instance_data_dir: both given; one place for the photos is needed",
        ),
        (
            lambda: DataConfig(caption_column="text"),
            r"--caption_column text: given without --dataset_name, which it needs\. .*00\.txt for 00\.jpg",
        ),
        (
            lambda: DataConfig(aspect_ratio_buckets="512,768;x"),
            r"--aspect_ratio_buckets 'x': no size; height,width in pixels is needed\. For example",
        ),
        (
            lambda: DataConfig(use_aspect_ratio_buckets=True),
            r"--use_aspect_ratio_buckets: the sizes are missing; --aspect_ratio_buckets is needed",
        ),
        (lambda: MaskConfig(mask_dilate=-1), r"--mask_dilate -1: out of range; at least 0"),
        (
            lambda: MaskConfig(outside_weight=1.5),
            r"--outside_weight 1\.5: out of range; .* at most 1",
        ),
        (
            lambda: MaskConfig(background_fill=(0, 256, 0)),
            r"--background_fill 256: out of range; at least 0 and at most 255",
        ),
        (
            lambda: MaskConfig(use_persam=True, outside_weight=1.0, outside_prior_weight=0.5),
            r"--outside_weight 1\.0: leaves nothing to --outside_prior_weight",
        ),
        (lambda: ValidationConfig(validation_steps=-1), r"--validation_steps -1: out of range; at least 0"),
        (lambda: ValidationConfig(validation_epochs=-1), r"--validation_epochs -1: out of range; at least 0"),
        (
            lambda: ResultConfig(push_to_hub=True, hub_token="hf_x", report_to="wandb"),
            r"--hub_token: not with --report_to wandb, whose record of the settings would show it",
        ),
        (
            lambda: ResultConfig(hub_model_id="me/cat"),
            r"--hub_model_id: given without --push_to_hub, which it needs\. Add that, or drop it",
        ),
    ],
)
def test_values_that_cannot_be(make, text):
    with pytest.raises(UserError, match=f"^{text}"):
        make()


@pytest.mark.parametrize(
    "masks",
    [
        {"mask_dilate": 1},
        {"mask_erode": 2},
        {"outside_weight": 0.5},
        {"background": "fill"},
        {"attention_mask_weight": 0.01},
    ],
)
def test_what_would_change_nothing_without_masks_is_refused(masks):
    ((name, value),) = masks.items()
    text = rf"^--{name} {value}: there are no masks; it needs them\. Add --use_persam, or drop it\.$"
    with pytest.raises(UserError, match=text):
        MaskConfig(**masks)
    assert getattr(MaskConfig(use_persam=True, **masks), name) == value
    assert getattr(MaskConfig(reference_photo="00", **masks), name) == value


def test_settings_of_two_records_that_do_not_go_together():
    replaced = MaskConfig(use_persam=True, background="class")
    with pytest.raises(UserError, match=r"^--background class: no class pictures to cut from; --class_"):
        Config(masks=replaced)
    assert Config(masks=replaced, data=DataConfig(class_data_dir=Path("cats"))).masks == replaced
    assert Config(masks=replaced, data=DataConfig(class_prompt="a cat")).masks == replaced

    unsaved = ResultConfig(skip_save_text_encoder=True)
    with pytest.raises(UserError, match=r"^--skip_save_text_encoder: with --train_text_encoder, what was tr"):
        Config(results=unsaved, train=TrainConfig(train_text_encoder=True))
    # Adapters are in a file of their own.
    adapters = TrainConfig(train_text_encoder=True, use_lora=True)
    assert Config(results=unsaved, train=adapters).results == unsaved

    drawn = MaskConfig(use_persam=True, attention_mask_weight=0.01)
    with pytest.raises(UserError, match=r"^--attention_mask_weight 0\.01: .* --identifier is needed"):
        Config(masks=drawn)
    named = DataConfig(identifier="sks")
    with pytest.raises(UserError, match=r"^--attention_mask_weight 0\.01: not with --compile"):
        Config(masks=drawn, data=named, train=TrainConfig(compile=True))
    assert Config(masks=drawn, data=named).masks == drawn
