"""What every test needs: no network, and one thread (on small pictures more only wait for each other)."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Let no test depend on which tests ran before it."""
    torch.manual_seed(0)
