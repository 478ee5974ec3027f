"""Several processes: two, exchanging gradients over gloo, come to the weights that one comes to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from background_cases import places
from PIL import Image
from process_cases import CASES, begin, finish
from tiny_pipelines import build_folder
from tiny_runs import arguments, build_models, same_weights

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    """What two processes came to, each with half the batch in two passes: a file a case."""
    folder = tmp_path_factory.mktemp("processes")
    for kind in {kind for kind, _, _ in CASES.values()}:
        build_folder(kind, folder / kind)
    launch(TESTS / "process_cases.py", str(folder), "2")
    return folder


def launch(script: Path, *arguments: str) -> None:
    """Run a script in two processes."""
    # What `accelerate launch` starts too; on a CPU alone that wants mpirun.
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [*two, str(script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_come_to_the_weights_of_one(of_two_processes, name):
    one, two = finish(begin(of_two_processes, name, 1)), torch.load(of_two_processes / f"{name}.pt")
    assert one["what_matters"] == two["what_matters"]
    for step, other in zip(one["progress"], two["progress"], strict=True):
        assert step == pytest.approx(other, rel=1e-4, abs=1e-6)
    assert one["weights"].keys() == two["weights"].keys()
    for key, value in one["weights"].items():
        torch.testing.assert_close(value, two["weights"][key], rtol=0, atol=1e-5, msg=key)


@pytest.mark.slow
def test_two_processes_train_alike_whether_one_measures_between_the_steps_or_not(tmp_path):
    models = build_models(tmp_path / "models", "sd", masks=3)
    (tmp_path / "places").mkdir()
    for number, pixels in enumerate(places(2)):
        Image.fromarray(pixels).save(tmp_path / "places" / f"{number}.png")
    measures = ["--background_advantage_steps=2", f"--background_decoys={tmp_path / 'places'}"]
    ways = ("--use_persam", "--use_lora", "--outside_prior_weight=1")
    plain, measured = tmp_path / "plain", tmp_path / "measured"
    launch(TESTS.parent / "train_dreambooth.py", *arguments(models, plain, *ways))
    launch(TESTS.parent / "train_dreambooth.py", *arguments(models, measured, *ways, *measures))
    assert same_weights(plain, measured)
    lines = (measured / "log.jsonl").read_text().splitlines()
    assert ["background_advantage" in line for line in lines] == [False, True, False, True]
