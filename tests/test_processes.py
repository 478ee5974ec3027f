"""Several processes: two, exchanging gradients over gloo, come to the weights that one comes to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from process_cases import CASES, begin, finish
from tiny_pipelines import build_folder

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    """What two processes came to, each with half the batch in two passes: a file a case."""
    folder = tmp_path_factory.mktemp("processes")
    for kind in {kind for kind, _, _ in CASES.values()}:
        build_folder(kind, folder / kind)
    # What `accelerate launch` starts too; on a CPU alone that wants mpirun.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    launch += [str(TESTS / "process_cases.py"), str(folder), "2"]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


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
