"""The settings: types, order of precedence, round trip, and a parse that loads nothing heavy."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from persam_dreambooth.config import Config, config_file, flag_types, parse, public_settings, to_yaml
from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import TrainConfig, resolve_defaults

# A new flag is a visible decision: it is added here too.
FLAGS = """
output_dir seed mixed_precision checkpointing_steps checkpoints_total_limit resume_from_checkpoint
pretrained_model_name_or_path revision variant tokenizer_name pretrained_vae_model_name_or_path sam
sam_adapter
instance_data_dir instance_prompt identifier class_prompt class_data_dir with_prior_preservation
prior_loss_weight num_class_images sample_batch_size prior_generation_precision dataset_name image_column
caption_column caption_dropout repeats resolution center_crop random_flip image_interpolation_mode
use_aspect_ratio_buckets aspect_ratio_buckets
reference_photo reference_mask reference_box reference_points reference_labels reference_scribble
reference_choice fit_solver persam_compat min_confidence save_intermediates
use_persam mask_method mask_mode mask_dilate mask_erode outside_weight mask_normalization
outside_prior_weight background background_fill attention_mask_weight
proposals diffseg_noun diffseg_tau diffseg_auto_tau diffseg_anchors diffseg_timestep diffseg_noise
diffseg_size diffseg_fit diffseg_weights diffseg_nms diffseg_exclusive diffseg_refine
use_lora rank lora_alpha lora_dropout use_dora lora_layers
learning_rate text_encoder_lr scale_lr optimizer use_8bit_adam adam_beta1 adam_beta2 adam_weight_decay
adam_weight_decay_text_encoder adam_epsilon prodigy_beta3 prodigy_decouple prodigy_use_bias_correction
prodigy_safeguard_warmup max_grad_norm
gradient_checkpointing cache_latents allow_tf32 enable_xformers_memory_efficient_attention channels_last
compile
train_text_encoder max_train_steps num_train_epochs train_batch_size gradient_accumulation_steps
lr_scheduler lr_warmup_steps lr_num_cycles lr_power snr_gamma offset_noise noise_offset
do_edm_style_training
validation_prompt num_validation_images validation_steps validation_epochs validation_scheduler
num_inference_steps guidance_scale final_validation_prompt skip_final_inference
background_advantage_steps background_decoys measure_masks
skip_save_text_encoder report_to logging_dir push_to_hub hub_token hub_model_id
""".split()


NOTHING_SAID = dataclasses.replace(Config(), output_dir=Path("dreambooth-model"))


def write(folder: Path, text: str) -> str:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_flags_are_these():
    assert list(flag_types()) == FLAGS


def test_defaults_are_those_of_diffusers():
    config = resolve_defaults(Config(), "sd")
    train, data = config.train, config.data
    assert (train.learning_rate, train.lr_scheduler, train.lr_warmup_steps) == (5e-6, "constant", 500)
    assert (train.adam_beta1, train.adam_beta2) == (0.9, 0.999)
    assert (train.adam_weight_decay, train.adam_epsilon) == (1e-2, 1e-8)
    assert (train.train_batch_size, train.gradient_accumulation_steps, train.max_grad_norm) == (4, 1, 1.0)
    assert (train.optimizer, train.rank, train.lora_dropout, train.lora_alpha) == ("AdamW", 4, 0.0, None)
    assert (data.prior_loss_weight, data.num_class_images, data.sample_batch_size) == (1.0, 100, 4)
    assert (data.repeats, data.image_column, data.caption_column) == (1, "image", None)
    assert (config.checkpointing_steps, config.validation.num_validation_images) == (500, 4)
    assert config.validation.validation_scheduler == "DPMSolverMultistepScheduler"
    assert (config.output_dir, config.results.logging_dir) == (Path("dreambooth-model"), Path("logs"))
    switched_on = {name for name, value in public_settings(config).items() if value is True}
    assert switched_on == {
        *("cache_latents", "prodigy_decouple", "prodigy_use_bias_correction", "prodigy_safeguard_warmup"),
    }


def test_without_arguments_the_toy_settings_are_read():
    assert parse([]) == parse(["--config", str(config_file("toy.yaml"))])
    assert parse([]).output_dir == Path("output/toy")


def test_a_model_of_ones_own_starts_from_the_defaults():
    config = parse(["--pretrained_model_name_or_path", "folder"])
    assert config.train == TrainConfig()
    assert config.output_dir == Path("dreambooth-model")


@pytest.mark.parametrize("flag", ["--use-persam", "--use_persam"])
def test_hyphens_and_underscores_are_the_same(flag):
    assert parse([flag]).masks.use_persam
    assert not parse([]).masks.use_persam


def test_what_is_typed_wins_over_the_file(tmp_path):
    path = write(tmp_path, "learning_rate: 5e-6\nmixed_precision: no\nuse_lora: true\nrank: 8\n")
    config = parse(["--rank", "2", f"--config={path}", "--no_use_lora"])
    assert config.train.learning_rate == 5e-6
    assert config.mixed_precision == "no"
    assert config.train.rank == 2
    assert not config.train.use_lora


def test_every_setting_survives_a_round_trip(tmp_path):
    typed = "--use_persam --learning_rate 3e-7 --checkpoints_total_limit 2 --mask_mode strict".split()
    texts = ["--class_prompt", "é: #1", "--reference_mask", "a b/00.mask.png", "c.png"]
    config = parse([*typed, *texts, "--output_dir", str(tmp_path)])
    assert config.masks.reference_mask == (Path("a b/00.mask.png"), Path("c.png"))
    assert parse(["--config", write(tmp_path, to_yaml(config))]) == config
    assert parse(["--config", write(tmp_path, to_yaml(Config()))]) == NOTHING_SAID


def test_a_token_is_written_nowhere(tmp_path):
    config = parse(["--push_to_hub", "--hub_token", "hf_secret", "--hub_model_id", "me/cat"])
    assert config.results.hub_token == "hf_secret"
    assert "hf_secret" not in to_yaml(config)
    assert "hf_secret" not in str(public_settings(config))
    read = parse(["--config", write(tmp_path, to_yaml(config))])
    assert read.results == dataclasses.replace(config.results, hub_token=None)


def test_a_file_may_give_several_values_where_a_flag_takes_them(tmp_path):
    path = write(tmp_path, "reference_points: [1, 2.5, 3, 4]\nreference_labels:\n  - 1\n  - 0\n")
    masks = parse(["--config", path]).masks
    assert (masks.reference_points, masks.reference_labels) == ((1, 2.5, 3, 4), (1, 0))
    one = parse(["--config", write(tmp_path, "reference_mask: 00.mask.png")]).masks
    assert one.reference_mask == (Path("00.mask.png"),)


def test_empty_values_and_files(tmp_path):
    assert parse(["--config", write(tmp_path, "revision:\nvariant: null\n")]).model.variant is None
    assert parse(["--config", write(tmp_path, "")]) == NOTHING_SAID


def test_steps_win_over_epochs_but_typed_epochs_over_the_steps_of_a_file(tmp_path):
    path = write(tmp_path, "max_train_steps: 7\ntrain_batch_size: 2\n")
    assert parse(["--config", path]).train.steps(num_photos=5) == 7
    assert parse(["--config", path, "--num_train_epochs", "4"]).train.steps(num_photos=5) == 4 * 3
    both = parse(["--config", path, "--num_train_epochs", "4", "--max_train_steps", "9"])
    assert both.train.steps(num_photos=5) == 9
    assert TrainConfig().steps(num_photos=5) == 400
    assert TrainConfig(num_train_epochs=1, gradient_accumulation_steps=2).steps(17, num_processes=2) == 2


def test_a_reference_mask_means_that_masks_are_wanted():
    assert parse(["--reference_mask", "00.mask.png"]).masks.wanted
    assert parse(["--reference_photo", "00"]).masks.wanted
    assert parse(["--reference_box", "1", "2", "30", "40"]).masks.wanted
    assert parse(["--reference_choice", "2"]).masks.wanted
    assert parse(["--use_persam"]).masks.wanted
    assert not parse([]).masks.wanted


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--learning_rate", "-1"], r"--learning_rate -1\.0: out of range; a value above 0"),
        (["--learning_rate", "nan"], r"--learning_rate nan: out of range"),
        (["--learning_rate", "inf"], r"--learning_rate inf: out of range"),
        (["--prior_loss_weight", "inf"], r"--prior_loss_weight inf: out of range"),
        (["--resolution", "0"], r"--resolution 0: out of range; at least 8"),
        (["--train_batch_size", "0"], r"--train_batch_size 0: out of range; at least 1"),
        (["--adam_beta1", "1"], r"--adam_beta1 1\.0: out of range; at least 0 and below 1"),
        (["--outside_prior_weight", "-0.5"], r"--outside_prior_weight -0\.5: out of range; at least 0"),
        (["--min_confidence", "2"], r"--min_confidence 2\.0: out of range; at least 0 and at most 1"),
        (["--reference_choice", "0"], r"--reference_choice 0: out of range; at least 1"),
        (["--reference_points", "1", "2", "3"], r"--reference_points: 3 numbers; an even number is needed"),
        (["--reference_labels", "1"], r"--reference_labels: 1 for 0 of --reference_points; one for each"),
        (
            ["--reference_points", "1", "2", "--reference_labels", "2"],
            r"--reference_labels 2: out of range; 0 or 1",
        ),
        (
            ["--reference_mask", "m.png", "--reference_box", "1", "2", "3", "4"],
            r"--reference_mask and --reference_box: both given; one hint is needed",
        ),
        (["--checkpoints_total_limit", "0"], r"--checkpoints_total_limit 0: out of range"),
        (["--seed", "-1"], r"--seed -1: out of range"),
        (["--instance_prompt", " "], r"--instance_prompt: empty; a prompt is needed"),
        (
            ["--with_prior_preservation", "--class_prompt", ""],
            r"--class_prompt: missing; --with_prior_preservation",
        ),
        (["--config"], r"--config: the file's name is missing"),
        (["--config", "a.yaml", "--config", "b.yaml"], r"--config: given twice"),
        (["--config", "configs/toi.yaml"], r"configs/toi\.yaml: no such file"),
    ],
)
def test_values_that_cannot_be(argv, text):
    with pytest.raises(UserError, match=text):
        parse(argv)


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        (
            "learning_rat: 1",
            r"settings\.yaml: learning_rat: no such flag; .* Did you mean learning_rate\?",
        ),
        ("zzzz: 1", r"settings\.yaml: zzzz: no such flag; keys are whole names of flags\.$"),
        ("network_dim: 8", r"settings\.yaml: network_dim: a name from kohya's sd-scripts; --rank is needed"),
        ("validation_images: a", r"settings\.yaml: validation_images: not offered: DeepFloyd IF"),
        ("rank: [1, 2]", r"settings\.yaml: rank: several values; one is needed"),
        ("rank: many", r"settings\.yaml: rank many: no number; a whole number is needed"),
        ("use_lora: maybe", r"settings\.yaml: use_lora maybe: no value is needed, or true or false"),
        ("- a\n- b", r"a list or a text; lines like"),
        ("a: b: c", r"no valid YAML"),
    ],
)
def test_files_that_cannot_be(tmp_path, yaml, text):
    with pytest.raises(UserError, match=text):
        parse(["--config", write(tmp_path, yaml)])


def test_a_missing_file_is_answered_with_the_nearest(tmp_path):
    path = write(tmp_path, "")
    with pytest.raises(UserError, match=r"Did you mean .*settings\.yaml\?"):
        parse(["--config", path.replace("settings", "setings")])


def test_parsing_loads_nothing_heavy():
    code = (
        "import json, sys, persam_dreambooth.cli; from persam_dreambooth.config import parse; parse([]);"
        "print(json.dumps([name for name in sys.modules if '.' not in name]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "diffusers", "transformers", "accelerate", "peft"}
    assert not heavy & set(json.loads(done.stdout))


def test_diffseg_asks_no_sam_that_an_adapter_could_be_for():
    wanted = r"^--sam_adapter a\.safetensors: for a SAM, and --mask_method diffseg asks none"
    with pytest.raises(UserError, match=wanted):
        parse(["--mask_method", "diffseg", "--sam_adapter", "a.safetensors"])
