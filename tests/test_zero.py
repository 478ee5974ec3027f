"""DeepSpeed's ZeRO: split moments, the same weights. Runs are skipped where it is not installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from process_cases import CASES, STEPS, begin, finish
from tiny_pipelines import build_folder

from persam_dreambooth.diffusion import checkpoint
from persam_dreambooth.diffusion.zero import check_zero
from persam_dreambooth.errors import UserError
from persam_dreambooth.settings import TrainConfig

TESTS = Path(__file__).parent

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="pip install deepspeed"
)


@pytest.mark.parametrize(
    ("stage", "precision", "settings", "said"),
    [
        (
            3,
            "no",
            {},
            r"accelerate's settings: DeepSpeed with ZeRO stage 3; 1 or 2 is needed: .*--zero_stage 2\.",
        ),
        (0, "no", {}, r"ZeRO stage 0; 1 or 2 is needed"),
        (2, "fp16", {}, r"--mixed_precision fp16: not with DeepSpeed, .* Use bf16 or no\."),
        (2, "no", {"use_8bit_adam": True}, r"--use_8bit_adam: not with DeepSpeed; AdamW is needed"),
        (1, "bf16", {"optimizer": "prodigy"}, r"--optimizer prodigy: not with DeepSpeed; AdamW is needed"),
    ],
)
def test_what_deepspeed_may_not_be_asked_for(stage, precision, settings, said):
    with pytest.raises(UserError, match=said):
        check_zero(stage, precision, TrainConfig(**settings))
    check_zero(None, precision, TrainConfig(**settings))


def test_stages_that_split_moments_are_taken():
    for stage, precision in ((1, "no"), (2, "bf16")):
        check_zero(stage, precision, TrainConfig())


def launch(folder: Path, num_processes: int, *more: str, **environment: str) -> None:
    """Build the models and run all cases on them under DeepSpeed."""
    for kind in {kind for kind, _, _ in CASES.values()}:
        build_folder(kind, folder / kind)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    command += [str(num_processes), str(TESTS / "process_cases.py"), str(folder), str(num_processes), *more]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    common = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_DEEPSPEED": "true"}
    everything = {**os.environ, **common, **environment}
    done = subprocess.run(command, env=everything, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_same(weights: dict, others: dict) -> None:
    """Check that weights agree."""
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        torch.testing.assert_close(value, others[key], rtol=0, atol=1e-5, msg=key)


WAYS = {
    "two processes, stage 2": (2, {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}),
    "two processes, stage 1": (2, {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}),
    "moments in the host's memory": (1, {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}),
}


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_split_moments_come_to_the_weights_of_one_process(tmp_path, way):
    num_processes, environment = WAYS[way]
    launch(tmp_path, num_processes, **environment)
    for name in CASES:
        one, split = finish(begin(tmp_path, name, 1)), torch.load(tmp_path / f"{name}.pt")
        assert one["what_matters"] == split["what_matters"]
        for step, other in zip(one["progress"], split["progress"], strict=True):
            assert step == pytest.approx(other, rel=1e-4, abs=1e-6)
        assert_same(one["weights"], split["weights"])


@needs_deepspeed
@pytest.mark.slow
def test_a_run_goes_on_with_split_moments_and_without(tmp_path):
    launch(tmp_path, 2, "in halves")
    for name in CASES:
        straight = finish(begin(tmp_path, name, 1))["weights"]
        assert_same(straight, torch.load(tmp_path / f"{name}.pt")["weights"])
        whole = begin(tmp_path, name, 1)
        checkpoint.resume(whole, tmp_path / "halves" / name / f"checkpoint-{STEPS - 1}")
        assert_same(straight, finish(whole)["weights"])
