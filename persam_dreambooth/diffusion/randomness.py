"""Random numbers as a function of what they are for, never of what was drawn before.

Every draw of a training run has a key: (seed, kind of example, step, example, purpose). So a resumed run goes
on with the numbers it would have drawn anyway, two runs of one seed see the same noise whatever else differs
between them, and the number of processes does not matter. All draws are made on the CPU, whose generator
gives the same numbers on every machine.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stable_number(*key: int | str) -> int:
    """Return a number of 63 bits that follows from the key alone, on every machine and in every process."""
    # JSON keeps 1 and "1" apart and refuses what has no fixed text, such as an object with an address.
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator at the start of the stream that belongs to the key."""
    return torch.Generator().manual_seed(stable_number(*key))


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Run a block that draws from torch's global CPU stream, for libraries that take no generator.

    The stream inside follows from the key; outside it goes on as if nothing had been drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_number(*key))
        yield
