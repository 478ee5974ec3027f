"""What is written about flags: the help, docs/flags.md, and the files in configs/."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from persam_dreambooth.config import flag_types, parse
from persam_dreambooth.flags.of_diffusers import ALWAYS_SO, OF_NEWER_SCRIPTS, OF_THE_THREE_SCRIPTS
from persam_dreambooth.flags.page import DIFFERENCES, MARK, help_text, tables
from persam_dreambooth.settings import Config, TrainConfig, rate_hint, resolve_defaults

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
MANY = 860_000_000


def test_the_page_is_what_the_records_say():
    _, _, below = PAGE.partition(MARK)
    assert below == tables(), "run `python -m persam_dreambooth.flags.page docs/flags.md`"


def test_every_flag_is_in_the_help_and_on_the_page_once():
    text = help_text("train_dreambooth.py")
    for name in flag_types():
        assert len(re.findall(rf"^  --{name}(?= |$)", text, re.MULTILINE)) == 1, name
        assert len(re.findall(rf"^\| `--{name}[ `].*\| (?:=|≈|newer|\+) \|$", PAGE, re.MULTILINE)) == 1, name
    assert all(f"--{name}" in text for name in ALWAYS_SO)
    assert max(len(line) for line in text.splitlines()) <= 110
    assert text.startswith("usage: train_dreambooth.py [--config FILE.yaml]")
    assert "\n  --use_persam  +\n      Find the subject in every photo" in text
    assert "\n  --cache_latents / --no_cache_latents\n" in text
    assert "\n  --learning_rate FLOAT\n      Step size after the warm-up; without it, 5e-6," in text


def test_differences_are_about_flags_that_diffusers_has():
    assert set(DIFFERENCES) <= (OF_THE_THREE_SCRIPTS | OF_NEWER_SCRIPTS) & set(flag_types())


def test_the_page_is_right_about_what_follows_from_what_is_trained():
    rows = re.findall(r"^\| `--(\w+)` \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, re.MULTILINE)
    modes = [(False, "sd"), (True, "sd"), (True, "sdxl")]
    resolved = [resolve_defaults(Config(train=TrainConfig(use_lora=lora)), family) for lora, family in modes]
    for name, *values in rows:
        for config, value in zip(resolved, values, strict=True):
            of_run = {"output_dir": config.output_dir, **vars(config.data), **vars(config.train)}
            text = value.strip("`")
            assert of_run[name] == (float(text) if re.match(r"\d", text) else type(of_run[name])(text))
    assert [name for name, *_ in rows] == [
        *("output_dir", "learning_rate", "adam_weight_decay", "image_interpolation_mode"),
    ]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_answers_at_once(flag):
    code = (
        "import sys; from train_dreambooth import main\n"
        f"try: main([{flag!r}])\n"
        "except SystemExit as stopped: print(stopped.code, [name for name in ('torch', 'diffusers', 'numpy')"
        " if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: train_dreambooth.py")
    assert done.stderr == "0 []\n"


def test_the_configs_are_these():
    assert [path.stem for path in CONFIGS] == [
        *("low_memory", "sd15_full", "sd15_lora", "sd15_text_encoder", "sd21_lora", "sdxl_lora", "toy"),
    ]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_first_line_of_a_config_is_a_command_that_parses(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# accelerate launch train_dreambooth.py --config configs/{path.name} --")
    config = parse(first.split()[4:])
    assert config.masks.wanted
    assert config.output_dir == Path("output") / path.stem
    assert config.train.max_train_steps
    assert config.train.lr_warmup_steps == 0
    assert config.validation.validation_prompt.startswith(config.data.instance_prompt)
    if path.stem == "toy":
        return
    assert str(config.data.instance_data_dir) == "PHOTOS"
    family = "sdxl" if "sdxl" in path.stem else "sd"
    assert rate_hint(resolve_defaults(config, family).train, MANY) is None
    assert config.train.use_lora == ("lora" in path.stem or path.stem == "low_memory")
    assert config.data.resolution == {"sd21_lora": 768, "sdxl_lora": 1024}.get(path.stem, 512)
    assert config.train.train_text_encoder == (path.stem == "sd15_text_encoder")


def test_the_toy_keeps_its_values():
    config = parse([])
    assert (config.data.resolution, config.train.learning_rate) == (64, 2e-4)
    assert (config.train.max_train_steps, config.train.train_batch_size) == (800, 4)
    assert config.masks.outside_prior_weight == 1.0
    assert (config.validation.guidance_scale, config.validation.num_inference_steps) == (5.0, 25)
