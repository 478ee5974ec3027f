r"""LeakBench: which way to train leaks how much of the photos' background, and at what cost.

    python benchmarks/leakbench.py                      # docs/leakage.md anew, from the rows that are kept
    python benchmarks/leakbench.py --quick              # 2 subjects, 4 ways to train: 15 minutes on two cores
    python benchmarks/leakbench.py --full               # 8 subjects, 15 ways, 3 seeds; again to go on
    python benchmarks/leakbench.py --full --part 1/6    # one of six parts; or start it twice: they share
    python benchmarks/leakbench.py --full --publish     # what is there, into docs/
    python benchmarks/leakbench.py --confirm            # what that chose, on 24 other subjects
    python benchmarks/leakbench.py --dataset DIR --base MODEL --sam SAM --steps 200 400 800 \
        --flags --config configs/sd15_lora.yaml         # the DreamBooth data set, on a GPU

A subject is trained with every way and seed and drawn after several numbers of steps, the most telling runs
first. What is finished is kept in --out; the same command goes on where it stopped. Tables and plot are made
of one row a picture, in --out and with --publish in docs/.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leakbench_albums import Bench
from leakbench_dataset import read_subjects
from leakbench_page import Page, confirmation_of, page_of, write_new_page, write_page
from leakbench_plan import ARMS, BLOCKS, CHOSEN, Plan, Subject, fresh_subjects, part_of, toy_subjects
from leakbench_runs import work
from leakbench_scores import features_of, read_rows, score, write_rows

from persam_dreambooth.errors import UserError, did_you_mean, user_errors
from persam_dreambooth.leakage.scenes import DECOY_KINDS

DOCS = Path(__file__).parent.parent / "docs"
PUBLISHED = DOCS / "leakbench.json.gz"
CONFIRMED = DOCS / "leakbench_confirm.json.gz"
OUT, OUT_CONFIRM = Path("output/benchmarks/leakbench"), Path("output/benchmarks/leakbench_confirm")
TOY_FLAGS = (
    *("--learning_rate", "4e-4", "--num_class_images", "24", "--num_inference_steps", "16"),
    *("--train_batch_size", "2", "--report_to", "none"),
)
"""Over configs/toy.yaml, for all arms: half its batch at twice its rate, so that fewer steps are enough."""
TOY_STEPS = (50, 100, 200)
STAGES = ("draw", "score", "page")


@dataclass(frozen=True)
class Size:
    """How much is run unless the command line says otherwise."""

    subjects: tuple[Subject, ...]
    arms: tuple[str, ...] = tuple(ARMS)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: tuple[int, ...] = TOY_STEPS


FULL = Size(toy_subjects())
QUICK = Size(toy_subjects(("dog", "cat")), arms=BLOCKS[0], seeds=(0,))
CONFIRM = Size(fresh_subjects(), arms=("plain", "captioned_outside", CHOSEN), seeds=(0, 1), steps=(50, 100))


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, measure and write what the command line asks for."""
    args = arguments(argv)
    with user_errors():
        if not (args.quick or args.full or args.confirm or args.dataset):
            for path in (PUBLISHED, CONFIRMED):
                publish(_page(path, confirm=path == CONFIRMED))
            return
        bench = bench_of(args)
        if "draw" in args.stages:
            work(bench, part_of(bench.plan.runs(), args.part), minutes=args.minutes)
        path = bench.out / PUBLISHED.name
        if "score" in args.stages:
            features = features_of(args.features, bench)
            about = {"features": features.name, "steps": bench.plan.steps, "base": bench.base}
            write_rows(path, score(bench, bench.plan.runs(), features, again=args.again), about)
        if "page" in args.stages:
            page = _page(path, confirm=args.confirm)
            write_new_page(bench.out / "leakage.md", page)
            print(f"{bench.out / 'leakage.md'}\n\n{page.parts.get('arms', page.parts.get('confirmed'))}")
            if args.publish:
                shutil.copyfile(path, CONFIRMED if args.confirm else PUBLISHED)
                publish(page)


def publish(page: Page) -> None:
    """Write tables and plot into docs/."""
    write_page(DOCS / "leakage.md", DOCS / "images", page)
    print(f"{DOCS / 'leakage.md'}: {', '.join(page.parts)}")


def _page(path: Path, *, confirm: bool) -> Page:
    """Return what the rows of a file say."""
    return (confirmation_of if confirm else page_of)(*read_rows(path))


def bench_of(args: argparse.Namespace) -> Bench:
    """Return what is run, from the command line.

    Raises:
        UserError: a data set without a model, one with no data set, an unknown subject, steps that do not
            rise from 1, or docs that are to hold something else than the whole benchmark.
    """
    if args.publish and not (args.full or args.confirm):
        raise UserError(
            "--publish: without --full or --confirm; docs/ hold the whole benchmark. Read the page in --out."
        )
    size = QUICK if args.quick else CONFIRM if args.confirm else FULL
    arms, seeds = tuple(args.arms or size.arms), tuple(args.seeds or size.seeds)
    steps = tuple(args.steps or size.steps)
    if list(steps) != sorted(set(steps)) or steps[0] < 1:
        given = " ".join(map(str, steps))
        raise UserError(f"--steps {given}: not rising; numbers of steps from 1 on are needed. Sort them.")
    if args.dataset is None:
        for flag, value in (("--base", args.base), ("--sam", args.sam)):
            if value is not None:
                raise UserError(f"{flag} {value}: the toy world has its own; --dataset is needed. Add it.")
        subjects = _named(args.subjects, CONFIRM if args.confirm else FULL) or size.subjects
        plan = Plan(subjects, arms, seeds, steps, flags=(*TOY_FLAGS, *args.flags))
        return Bench(plan, args.out or (OUT_CONFIRM if args.confirm else OUT))
    for flag, value in (("--base", args.base), ("--sam", args.sam), ("--steps", args.steps)):
        if not value:
            raise UserError(
                f"--dataset {args.dataset}: no {flag}; a model, a SAM and numbers of steps are needed. "
                "Add it."
            )
    return Bench(
        Plan(read_subjects(args.dataset, args.subjects), arms, seeds, steps, flags=tuple(args.flags)),
        args.out or OUT,
        base=args.base,
        sam=args.sam,
        photos=args.dataset,
        decoy_prompts=tuple(f"a photo of {place}" for kind in DECOY_KINDS for place in kind),
    )


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="2 subjects, 4 arms, 1 seed")
    size.add_argument("--full", action="store_true", help="all subjects, arms and seeds")
    size.add_argument("--confirm", action="store_true", help="what was chosen, on 24 other subjects")
    size.add_argument("--dataset", type=Path, metavar="DIR", help="photos laid out as DreamBooth's")
    parser.add_argument("--base", metavar="MODEL", help="folder or hub id, for --dataset")
    parser.add_argument("--sam", metavar="SAM", help="folder or hub id, for --dataset")
    parser.add_argument("--part", default="1/1", help="draw every n-th run only, as 1/6")
    parser.add_argument("--minutes", type=float, help="begin no further run after so many")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    parser.add_argument("--subjects", nargs="+", metavar="NAME")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, help="of the trainings")
    parser.add_argument("--steps", nargs="+", type=int, help="draw after each of these numbers of steps")
    parser.add_argument("--features", default="auto", help="of the measure; see docs/leakage_features.md")
    parser.add_argument("--again", action="store_true", help="measure anew what is measured")
    parser.add_argument("--publish", action="store_true", help="rows, tables and plot into docs/")
    parser.add_argument("--out", type=Path, help=f"{OUT} if not given, {OUT_CONFIRM} of --confirm")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="of train_dreambooth.py; last")
    return parser.parse_args(argv)


def _named(names: Sequence[str] | None, size: Size) -> tuple[Subject, ...]:
    """Return the toy subjects of names, or raise UserError where one is none."""
    known = {subject.name: subject for subject in size.subjects}
    for name in names or ():
        if name not in known:
            raise UserError(
                f"--subjects {name}: no such subject; one of {', '.join(known)} is needed."
                f"{did_you_mean(name, list(known))}"
            )
    return tuple(subject for name, subject in known.items() if name in (names or ()))


if __name__ == "__main__":
    main()
