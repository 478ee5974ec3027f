"""Seconds a step and peak memory of this trainer, against a plain loop that does what diffusers' script does.

    python benchmarks/training.py                              # LoRA: the toy, SD-1.5-size random weights
    python benchmarks/training.py --models sd15 --mode full    # full fine-tuning: 15 GB an arm
    python benchmarks/training.py --device cuda                # SD 1.5 at 512 px, SDXL at 1024 px, bf16

The plain loop puts the photos through the VAE and the prompt through the text encoders in every step, with
torch's default AdamW and diffusers' default attention. Reading and resizing photos, which diffusers' script
does in every step as well, is left out of it. Model, batch and precision are the same.

Every arm is a process, so that the peak of its memory is its own, and they take their steps in turns, so that
what else the machine does meets all of them. On a CPU the peak is what the process takes beside its
libraries. With --apart one arm runs after the other, where memory for all at once is short; full fine-tuning
of a model of real size always does.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from random_models import SIZES, build_models
from training_arms import TYPES, Workload, our_steps, plain_steps

ARMS = ("plain", "ours", "ours, no masks", "ours, checkpointed", "ours, compiled")


def worker(connection: Connection, work: Workload, arm: str) -> None:
    """Take a step each time the parent asks, and say how long it took; at the end say the memory's peak."""
    torch.set_num_threads(work.threads)
    on_gpu = work.device != "cpu"
    libraries = 0 if on_gpu else peak_rss()
    models = build_models(work.model)
    steps = plain_steps(models, work) if arm == "plain" else our_steps(models, work, arm)
    expected = None if arm == "plain" else next(steps)
    while connection.recv():
        began = time.perf_counter()
        next(steps)
        if on_gpu:
            torch.cuda.synchronize()
        connection.send(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_rss() - libraries
    connection.send({"peak_mib": peak / 2**20, "expected_mib": expected and expected / 2**20})


@dataclass(eq=False)
class Arm:
    """One side, in a process of its own."""

    name: str
    connection: Connection
    process: multiprocessing.Process
    seconds: list[float]

    @classmethod
    def begin(cls, name: str, work: Workload) -> "Arm":
        """Start it; it makes its model and waits."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=worker, args=(theirs, work, name), daemon=True)
        process.start()
        # So that a worker that dies is an error here and not a wait without end.
        theirs.close()
        return cls(name, ours, process, [])

    def step(self) -> None:
        """Take a step, and note its seconds."""
        self.connection.send(True)
        self.seconds.append(self.connection.recv())

    def end(self) -> dict[str, float]:
        """Stop it; return its peak of memory."""
        self.connection.send(False)
        result = self.connection.recv()
        self.process.join()
        return result


def measure(work: Workload, names: list[str], rounds: int, *, apart: bool) -> list[dict]:
    """One row an arm: seconds a step (median), against the plain loop in the same round, and the peak."""
    arms, memory = [], {}
    for group in [[name] for name in names] if apart else [names]:
        running = [Arm.begin(name, work) for name in group]
        # The first step of each is no measurement: memory is taken and code is compiled.
        for number in range(1 + rounds):
            # In turns, and each round in the other direction.
            for arm in running if number % 2 else reversed(running):
                arm.step()
        memory |= {arm.name: arm.end() for arm in running}
        arms += running
    plain = next((arm.seconds[1:] for arm in arms if arm.name == "plain"), None)
    rows = []
    for arm in arms:
        seconds = arm.seconds[1:]
        row = {"arm": arm.name, "step_s": statistics.median(seconds), **memory[arm.name]}
        if plain is not None:
            row["times_faster"] = statistics.median(p / s for p, s in zip(plain, seconds, strict=True))
            row["memory_ratio"] = row["peak_mib"] / memory["plain"]["peak_mib"]
        rows.append({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()})
        rows[-1]["seconds"] = seconds
    return rows


def masks_cost(rows: list[dict]) -> float | None:
    """How much longer a step takes with masks, as a share, round by round; None where it was not measured."""
    seconds = {row["arm"]: row["seconds"] for row in rows}
    if not {"ours", "ours, no masks"} <= seconds.keys():
        return None
    pairs = zip(seconds["ours"], seconds["ours, no masks"], strict=True)
    return statistics.median(masked / whole for masked, whole in pairs) - 1


def peak_rss() -> int:
    """The most memory that this process has had, in bytes."""
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def defaults(model: str, arguments: argparse.Namespace) -> Workload:
    """The workload of a model: small on a CPU, as published on a GPU."""
    on_gpu = arguments.device != "cpu"
    side = {"toy": 128, "tiny": 64, "sd15": 512 if on_gpu else 128, "sdxl": 1024 if on_gpu else 128}[model]
    return Workload(
        model=model,
        device=arguments.device,
        resolution=arguments.resolution or side,
        batch_size=arguments.batch_size or (4 if model == "toy" else 1),
        mode=arguments.mode,
        rank=16 if on_gpu else 4,
        precision=arguments.precision or ("bf16" if on_gpu else "no"),
        threads=arguments.threads,
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", choices=["toy", *SIZES], help="default: toy sd15; GPU: sd15 sdxl"
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="default: all that suit the model")
    parser.add_argument("--mode", choices=["lora", "full"], default="lora")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--precision", choices=TYPES, help="default: no; on a GPU bf16")
    parser.add_argument("--rounds", type=int, help="steps of each arm that are measured")
    parser.add_argument("--apart", action="store_true", help="one arm after the other")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure each model and print a table."""
    arguments = parsed()
    on_gpu = arguments.device != "cpu"
    everything = []
    for model in arguments.models or (["sd15", "sdxl"] if on_gpu else ["toy", "sd15"]):
        work = defaults(model, arguments)
        small = model in ("toy", "tiny")
        names = arguments.arms or [
            arm for arm in ARMS[: None if on_gpu else 4] if arm != "ours, no masks" or small or on_gpu
        ]
        rounds = arguments.rounds or (30 if small or on_gpu else 5)
        print(f"{work}")
        rows = measure(work, names, rounds, apart=arguments.apart or (work.mode == "full" and not small))
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items() if key != "seconds"), flush=True)
        cost = masks_cost(rows)
        if cost is not None:
            print(f"masks: {cost:+.1%} of a step")
        everything.append({**vars(work), "rows": rows, "masks_cost": cost})
    if arguments.out:
        arguments.out.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
