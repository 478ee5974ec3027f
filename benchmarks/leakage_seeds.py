"""The headline numbers of the demonstration over several training seeds, for one or more ways to train.

    python benchmarks/leakage_seeds.py                                   # configs/toy.yaml, seeds 0 1 2
    python benchmarks/leakage_seeds.py --ways default no_outside_prior   # compared with one another

A way is a set of flags for both arms (see WAYS). The spread is the smallest and largest of the seeds' means.
"""

import argparse
import json
import time
from pathlib import Path

from persam_dreambooth import demo

WAYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "no_outside_prior": ("--outside_prior_weight", "0"),
    "class_images": ("--outside_prior_weight", "0", "--with_prior_preservation", "--num_class_images", "40"),
    "strict": ("--mask_mode", "strict"),
    "mean_over_all": ("--mask_normalization", "none"),
}
"""Flags of train_dreambooth.py over those of configs/toy.yaml."""
MEASURES = ("leak", "agreement", "trait_likeness", "likeness", "excess", "adherence")


def spread(results: list[dict], arm: str, measure: str) -> dict[str, float]:
    """Mean, smallest and largest of a measure over the runs."""
    values = [result["arms"][arm][measure]["mean"] for result in results]
    return {
        "mean": round(sum(values) / len(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    """Run the demonstration for every way and seed and print a table; the reports stay in --out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=["default"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further flags for all; last")
    parser.add_argument("--sample", default="cat")
    parser.add_argument("--out", type=Path, default=Path("output/benchmarks/leakage_seeds"))
    args = parser.parse_args()
    table: dict[str, dict] = {}
    for way in args.ways:
        started = time.monotonic()
        results = [
            demo.main(
                args.out / f"{way}-{seed}", sample=args.sample, seed=seed, flags=[*WAYS[way], *args.flags]
            )
            for seed in args.seeds
        ]
        arms = results[0]["arms"]
        table[way] = {arm: {m: spread(results, arm, m) for m in MEASURES if m in arms[arm]} for arm in arms}
        table[way]["seconds_per_seed"] = round((time.monotonic() - started) / len(args.seeds))
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
