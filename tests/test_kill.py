"""Killed (SIGKILL) at any moment, again and again, a run ends with the weights it would have had."""

import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from run_server import run_server
from tiny_runs import arguments, build_models, same_weights, steps_logged

from persam_dreambooth.diffusion.checkpoint_files import list_checkpoints, read_record

KILLS = 20
STEPS = 12

# Half a minute where nothing else runs.
pytestmark = pytest.mark.slow

WAYS = {
    "full": ["--gradient_accumulation_steps=2", "--train_batch_size=1", "--background=random"],
    "lora": ["--use_lora", "--lora_dropout=0.5", "--train_text_encoder", "--random_flip"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return build_models(tmp_path_factory.mktemp("models"), "sd", masks=3)


def command(models: Path, out: Path, *flags: str) -> list[str]:
    """Many steps, each with a checkpoint, so that many kills fall into the writing of one."""
    every_step = [f"--max_train_steps={STEPS}", "--checkpointing_steps=1", "--checkpoints_total_limit=2"]
    return arguments(models, out, "--use_persam", *every_step, *flags)


def kill_at(argv: list[str], out: Path, steps: int, seconds: float) -> bool:
    """Run; kill so many seconds after so many more steps are in the log (or after the start, for none).

    Returns whether the run was still going on then.
    """
    said, done = out.with_name("said.txt"), len(steps_so_far(out))
    run = run_server().start(argv, said)
    while steps and not run.is_over(0.002) and len(steps_so_far(out)) - done < steps:
        pass
    if run.is_over(seconds):
        assert run.wait() == 0, said.read_text()
        return False
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, said.read_text()
    return True


def steps_so_far(out: Path) -> list[int]:
    return steps_logged(out) if (out / "log.jsonl").exists() else []


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_random_times_it_ends_with_the_same_weights(models, tmp_path, way):
    straight, killed, said = tmp_path / "straight", tmp_path / "killed", tmp_path / "said.txt"
    assert run_server().run(command(models, straight, *WAYS[way]), said) == 0, said.read_text()
    rng, argv, found = random.Random(way), command(models, killed, *WAYS[way]), []
    while len(found) < KILLS // len(WAYS):
        # One kill in four comes before the first step; a step with its checkpoint takes a tenth of a second.
        if kill_at(argv, killed, rng.randrange(4) and 1, rng.uniform(0, 0.15)):
            whole = [path for path in list_checkpoints(killed) if read_record(path)]
            found.append(int(whole[-1].name.split("-")[1]) if whole else 0)
            continue
        check_ended(straight, killed)
        shutil.rmtree(killed)
    # Kills that all came before the first checkpoint would show nothing.
    assert len(set(found)) > 2
    assert run_server().run(argv, said) == 0, said.read_text()
    check_ended(straight, killed)


def check_ended(straight: Path, killed: Path) -> None:
    """The same weights, a log without holes, nothing left over."""
    assert same_weights(straight, killed)
    assert steps_logged(killed) == list(range(1, STEPS + 1))
    assert [path.name for path in killed.iterdir() if path.name.startswith(".")] == []
