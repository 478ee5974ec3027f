"""Random numbers as a function of what they are for, never of what was drawn before.

Every draw of a training run has a key: (seed, kind of example, step, example, purpose). So a resumed run goes
on with the numbers it would have drawn anyway, two runs of one seed see the same noise whatever else differs
between them, and the number of processes does not matter. All draws are made on the CPU, whose generator
gives the same numbers on every machine.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
def seeded(*key: int | str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block that draws from torch's global streams, for libraries that take no generator.

    The streams inside follow from the key; outside they go on as if nothing had been drawn.

    Args:
        key: what the streams belong to.
        device: whose stream, beside the CPU's.
    """
    device, number = torch.device(device), stable_number(*key)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        # Not torch.manual_seed, which would start the stream of every accelerator anew as well.
        torch.random.default_generator.manual_seed(number)
        if device.type != "cpu":
            accelerator = torch.get_device_module(device.type)
            stack.enter_context(torch.random.fork_rng(devices=[device], device_type=device.type))
            stack.enter_context(accelerator.device(device))
            accelerator.manual_seed(number)
        yield
