"""Several processes: each takes a part of a step's photos, and their gradients are added."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from wesam_cases import album

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_two_processes_come_to_the_adapter_of_one(tmp_path):
    photos, boxes, _ = album(tmp_path)
    # The first step has three photos for two processes.
    settings = "--batch_size 3 --iterations 3 --evaluation_steps 3 --learning_rate 1e-3".split()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    found = []
    for name, before in (("one", []), ("two", launch)):
        command = [sys.executable, *before, "-m", "persam_dreambooth", "adapt-sam", *settings]
        command += ["--photos", str(photos), "--boxes", str(boxes), "--out", str(tmp_path / name)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("adapter: ") == 1
        found.append(load_file(tmp_path / name / "sam_adapter.safetensors"))
    one, two = found
    assert any(value.any() for name, value in one.items() if name.endswith(".b"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=1e-4, msg=name)
