"""Flags as people type them: diffusers' command lines, short names, switches, names from other trainers."""

import re
import shlex
from pathlib import Path

import pytest

from persam_dreambooth.config import flag_types, parse
from persam_dreambooth.errors import UserError
from persam_dreambooth.flags.command_line import setting_name
from persam_dreambooth.flags.of_diffusers import (
    ALWAYS_SO,
    OF_NEWER_SCRIPTS,
    OF_OTHERS,
    OF_THE_THREE_SCRIPTS,
    REFUSED,
    RENAMED,
)
from persam_dreambooth.settings import LORA_ONLY, Config
from persam_dreambooth.settings.fields import meanings, settings_of

ROOT = Path(__file__).parent.parent
MODEL = ["--pretrained_model_name_or_path", "sd"]


def typed(line):
    return parse([*MODEL, *shlex.split(line)])


def test_no_flag_of_diffusers_is_forgotten():
    answered = {*flag_types(), *ALWAYS_SO, *REFUSED}
    assert len(OF_THE_THREE_SCRIPTS) == 83
    assert answered >= OF_THE_THREE_SCRIPTS | OF_NEWER_SCRIPTS


def test_every_flag_has_one_answer():
    answers = [*flag_types(), *ALWAYS_SO, *REFUSED, *OF_OTHERS, *RENAMED]
    assert len(answers) == len(set(answers))
    assert {ours.removeprefix("no_") for ours, _ in RENAMED.values()} <= set(flag_types())


def test_every_setting_says_what_it_means():
    for setting in settings_of(Config()):
        text = meanings(setting.record)[setting.name]
        assert text[0].isupper() or text.startswith("persam"), setting.name
        assert text.endswith("."), setting.name
        assert {name[2:] for name in re.findall(r"--[a-z_0-9]+", text)} <= set(flag_types()), setting.name


# Settings that the rest of the program reads through a property of their record.
READ_THROUGH = {
    "offset_noise": "noise_shift",
    "noise_offset": "noise_shift",
    "aspect_ratio_buckets": "buckets",
    "final_validation_prompt": "final_prompt",
    "skip_final_inference": "final_prompt",
    "use_persam": "wanted",
    "max_train_steps": "steps",
    "num_train_epochs": "steps",
}
CHECKED_ONLY = ["use_aspect_ratio_buckets"]


def test_every_setting_is_read_by_the_program():
    package = ROOT / "persam_dreambooth"
    apart = [package / "settings", package / "toyworld", package / "masks" / "export"]
    files = [path for path in package.rglob("*.py") if not set(apart) & set(path.parents)]
    source = "\n".join(path.read_text(encoding="utf-8") for path in (*files, ROOT / "train_dreambooth.py"))
    records = r"\b(?:config|named|model|data|masks|measures|search|settings|train|validation|results)"
    names = {name: READ_THROUGH.get(name, name) for name in flag_types()}
    read = {name for name, of_record in names.items() if re.search(rf"{records}\.{of_record}\b", source)}
    assert [name for name in names if name not in read] == CHECKED_ONLY


# The commands of the three scripts' READMEs (README.md, README_sdxl.md): what follows the script's name.
BASIC = (
    '--instance_data_dir=dog --output_dir=out --instance_prompt="a photo of sks dog" --resolution=512 '
    '--train_batch_size=1 --gradient_accumulation_steps=1 --lr_scheduler="constant" --lr_warmup_steps=0'
)
PRIOR = (
    '--class_data_dir=dogs --with_prior_preservation --prior_loss_weight=1.0 --class_prompt="a photo of dog" '
    "--num_class_images=200 --max_train_steps=800"
)
TRACKED = (
    '--validation_prompt="A photo of sks dog in a bucket" --seed="0" --push_to_hub --report_to="wandb" '
    "--max_train_steps=500 --learning_rate=1e-4"
)
XL = (
    '--instance_data_dir="dog" --output_dir="dog-lora" --mixed_precision="fp16" '
    '--instance_prompt="a photo of sks dog" --resolution=1024 --train_batch_size=1 '
    '--gradient_accumulation_steps=4 --lr_scheduler="constant" --lr_warmup_steps=0 --validation_epochs=25'
)
COMMANDS = {
    "the dog": f"{BASIC} --learning_rate=5e-6 --max_train_steps=400",
    "prior preservation": f"{BASIC} {PRIOR} --learning_rate=5e-6",
    "16 GB": f"{BASIC} {PRIOR} --learning_rate=5e-6 --gradient_checkpointing --use_8bit_adam",
    "12 GB": f"{BASIC} {PRIOR} --learning_rate=2e-6 --gradient_checkpointing --use_8bit_adam "
    "--enable_xformers_memory_efficient_attention --set_grads_to_none",
    "8 GB": f"{BASIC} {PRIOR} --learning_rate=5e-6 --gradient_checkpointing --sample_batch_size=1 "
    "--mixed_precision=fp16",
    "text encoder": f"{BASIC} {PRIOR} --train_text_encoder --learning_rate=2e-6 --gradient_checkpointing "
    "--use_8bit_adam",
    "LoRA": f"--use_lora {BASIC} {TRACKED} --checkpointing_steps=100",
    "LoRA on both": f"--use_lora {BASIC} {TRACKED} --checkpointing_steps=100 --train_text_encoder",
    "SDXL": f"--use_lora {XL} {TRACKED} --pretrained_vae_model_name_or_path=madebyollin/sdxl-vae-fp16-fix",
    "SDXL in 16 GB": f"--use_lora {XL} {TRACKED} --enable_xformers_memory_efficient_attention "
    "--gradient_checkpointing --use_8bit_adam",
    "SDXL on a dataset": f"--use_lora {XL.replace('--instance_data_dir', '--dataset_name')} {TRACKED} "
    '--caption_column="text" --train_text_encoder --text_encoder_lr=5e-6 --output_kohya_format',
    "playground": f"--use_lora {XL} {TRACKED} --use_8bit_adam --do_edm_style_training",
    "prodigy": f"--rank=8 {XL} --optimizer=prodigy --learning_rate=1.0 --text_encoder_lr=1.0 "
    "--train_text_encoder --prodigy_safeguard_warmup=True --prodigy_use_bias_correction=True "
    "--adam_beta1=0.9 --adam_beta2=0.99 --adam_weight_decay=0.01 --max_train_steps=1000",
    "its tests": "--instance_data_dir imgs --instance_prompt photo --resolution 64 --train_batch_size 1 "
    "--gradient_accumulation_steps 1 --max_train_steps 6 --learning_rate 5.0e-04 --scale_lr --lr_scheduler "
    "constant --lr_warmup_steps 0 --output_dir out --checkpointing_steps=2 --checkpoints_total_limit=2 "
    "--resume_from_checkpoint=checkpoint-4 --seed=0",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_lines_of_diffusers_parse(name):
    config = typed(COMMANDS[name])
    words = dict(re.findall(r"--(\w+)[= ]\"?(?!--)([\w.-]+)", COMMANDS[name]))
    assert config.train.max_train_steps == int(words["max_train_steps"])
    assert config.train.learning_rate == float(words["learning_rate"])
    assert config.data.resolution == int(words["resolution"])
    assert config.train.lr_warmup_steps == 0
    assert config.train.use_lora == ("lora" in COMMANDS[name] or "--rank" in COMMANDS[name])
    assert config.data.with_prior_preservation == ("--class_prompt" in COMMANDS[name])


@pytest.mark.parametrize(
    ("line", "record", "name", "value"),
    [
        ("--lr_warmup 0", "train", "lr_warmup_steps", 0),
        ("--lr-warmup=7", "train", "lr_warmup_steps", 7),
        ("--max_train 3", "train", "max_train_steps", 3),
        ("--resume latest", None, "resume_from_checkpoint", "latest"),
        ("--gradient_acc 2", "train", "gradient_accumulation_steps", 2),
        ("--use_8", "train", "use_8bit_adam", True),
        # Clear in diffusers' scripts, and no less so here, where --min_confidence begins alike.
        ("--mi fp16", None, "mixed_precision", "fp16"),
        ("--use_persam --mask_dil 2", "masks", "mask_dilate", 2),
        ("--center-crop", "data", "center_crop", True),
        ("--prodigy_decouple False", "train", "prodigy_decouple", False),
        ("--prodigy_decouple=0", "train", "prodigy_decouple", False),
        ("--prodigy_decouple True", "train", "prodigy_decouple", True),
        ("--no_prodigy_decouple", "train", "prodigy_decouple", False),
        ("--no_prodigy_decouple false", "train", "prodigy_decouple", True),
        ("--no_cache", "train", "cache_latents", False),
        ("--random_flip --no-random-flip", "data", "random_flip", False),
        ('--mixed_precision="no"', None, "mixed_precision", "no"),
        ("--mixed_precision BF16", None, "mixed_precision", "bf16"),
        ("--optimizer adamW", "train", "optimizer", "AdamW"),
        ("--optimizer Prodigy", "train", "optimizer", "prodigy"),
        ("--report_to none", "results", "report_to", "none"),
        ("--validation_scheduler None", "validation", "validation_scheduler", None),
        ("--revision -x", "model", "revision", "-x"),
        ("--use_persam --background_fill 1 2 3", "masks", "background_fill", (1, 2, 3)),
    ],
)
def test_ways_of_typing(line, record, name, value):
    config = typed(line)
    assert getattr(getattr(config, record) if record else config, name) == value


def test_short_names_mean_what_they_mean_to_diffusers():
    whole_names = set()
    for flag in OF_THE_THREE_SCRIPTS - set(REFUSED):
        for short in (flag[:length] for length in range(1, len(flag) + 1)):
            meant = [name for name in OF_THE_THREE_SCRIPTS if name.startswith(short)]
            if short in flag_types():
                whole_names |= {short} - {flag}
            elif len(meant) == 1:
                assert setting_name(short) == flag
    # A whole name is that flag: --sam is not --sample_batch_size.
    assert whole_names == {"sam", "adam_weight_decay"}


@pytest.mark.parametrize("name", ALWAYS_SO)
def test_what_is_always_so_is_accepted_and_changes_nothing(name):
    value = {"local_rank": ["-1"], "dataloader_num_workers": ["4"], "cache_dir": ["cache"]}.get(name, [])
    assert parse([*MODEL, f"--{name}", *value]) == parse(MODEL)


@pytest.mark.parametrize(("flag", "is_on"), [("rank=8", True), ("use_dora", True), ("no_use_dora", False)])
def test_a_flag_of_adapters_implies_adapters(flag, is_on):
    assert typed(f"--{flag}").train.use_lora == is_on
    assert typed(f"--{flag}").output_dir == Path("lora-dreambooth-model" if is_on else "dreambooth-model")
    assert not typed(f"--{flag} --no_use_lora").train.use_lora


def test_a_flag_of_adapters_implies_adapters_in_a_file_as_well(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("rank: 8\n")
    assert parse(["--config", str(path)]).train.use_lora
    assert not parse(["--config", str(path), "--no_use_lora"]).train.use_lora
    path.write_text("rank: 8\nuse_lora: false\n")
    assert not parse(["--config", str(path)]).train.use_lora
    assert parse(["--config", str(path), "--rank=4"]).train.use_lora
    assert set(LORA_ONLY) <= set(flag_types())


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "--learning_rte 1",
            r"--learning_rte: no such flag; .* --help is needed\. Did you mean --learning_rate\?",
        ),
        ("--zzzz", r"--zzzz: no such flag; one of those in --help is needed\.$"),
        (
            "--validation",
            r"--validation: may mean --validation_epochs, --validation_prompt, .*; one is needed",
        ),
        ("--unmasked_weight 0.1", r"--unmasked_weight: a name from OneTrainer; --outside_weight is needed"),
        (
            "--masked_loss",
            r"--masked_loss: a name from kohya's sd-scripts; --use_persam is needed .* Write --use_",
        ),
        ("--network-dim=4", r"--network_dim: a name from kohya's sd-scripts; --rank is needed for it here"),
        ("--networkdim=4", r"--networkdim: no such flag; .* Did you mean --network_dim\?"),
        ("--lr 1e-4", r"--lr: a name from ai-toolkit; --learning_rate is needed"),
        ("--class_labels timesteps", r"--class_labels_conditioning: not offered: DeepFloyd IF"),
        (
            "--weighting_scheme none",
            r"--weighting_scheme: not offered: it is for flow matching \(SD3, Flux\)",
        ),
        ("--unmasked_probability 0.1", r"--unmasked_probability: not offered: a step without masks learns"),
        ("--rank many", r"--rank many: no number; a whole number is needed"),
        ("--rank 1.5", r"--rank 1\.5: no number; a whole number is needed"),
        ("--learning_rate", r"--learning_rate: the value is missing; a number is needed"),
        (
            "--mask_mode arae",
            r"--mask_mode arae: no such choice; one of area, strict, any is needed\. Did you mean",
        ),
        ("--optimizer lion", r"--optimizer lion: no such choice; one of AdamW, prodigy is needed\.$"),
        ("--center_crop maybe", r"--center_crop maybe: no value is needed, or true or false"),
        (
            "--instance_prompt a photo of sks cat",
            r"--instance_prompt a photo of sks cat: 5 values; one is needed\. .* \"a photo of sks cat\"",
        ),
        ("--reference_box 1 2 3", r"--reference_box: 3 values; 4 are needed"),
        ("--reference_mask", r"--reference_mask: the value is missing; a path is needed"),
        (
            "--pre_compute_text_embeddings --train_text_encoder",
            r"--pre_compute_text_embeddings: not with --train_text_encoder, whose embeddings change",
        ),
    ],
)
def test_what_cannot_be_is_answered_in_one_line(line, text):
    with pytest.raises(UserError, match=f"^{text}") as refusal:
        typed(line)
    assert "\n" not in str(refusal.value)


def test_a_word_without_a_flag():
    with pytest.raises(UserError, match=r"^photos: no flag in front of it; flags like --instance_data"):
        parse(["photos"])


@pytest.mark.parametrize("name", sorted({*REFUSED, *OF_OTHERS, *RENAMED}))
def test_every_refused_flag_is_answered_with_what_to_do(name):
    with pytest.raises(UserError, match=rf"^--{name}: .+\. ?.*(Use|Drop|Write|Run)\b.*\.$"):
        typed(f"--{name} 1")
