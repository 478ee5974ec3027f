"""Train and draw: what takes long in LeakBench, one folder a training.

runs/<subject>/<arm>-<seed>/step-000200/    pictures after so many steps, and prompts.json
runs/<subject>/<arm>-<seed>/run.json        written last: what was run, how long it took, the loss

What is finished is not made again; what was cut off is. Several processes share the work: each takes the
first run that nobody has finished or is at.
"""

import time
from collections.abc import Sequence

from leakbench_albums import Bench, config_of, draw, locked, prepare
from leakbench_plan import ARMS, RECONTEXT, Run

from persam_dreambooth import dreambooth
from persam_dreambooth.diffusion.captions import Album, Caption
from persam_dreambooth.diffusion.training import build_accelerator, drawing, train
from persam_dreambooth.run import RunFolder, digest_of
from persam_dreambooth.settings import resolve_defaults

RUN_FILE = "run.json"
STAGE, ROWS_STAGE = "run", "rows"
"""Stamps of a run's folder: drawn, and measured. What is drawn anew is measured anew."""
LOSS_EVERY = 10
"""Steps between two entries of the loss in run.json."""


def is_done(bench: Bench, run: Run) -> bool:
    """Return whether a training and its pictures are finished, as the plan wants them now."""
    return RunFolder(bench.run_folder(run), "--out").is_done(STAGE, _digest(bench, run), [RUN_FILE])


def work(bench: Bench, runs: Sequence[Run], *, minutes: float | None = None) -> int:
    """Do the runs that nobody has done or is doing; return how many were done.

    Args:
        bench: the plan and its place.
        runs: in this order.
        minutes: begin no further run after so many.
    """
    began, done = time.monotonic(), 0
    todo = [run for run in runs if not is_done(bench, run)]
    print(f"{len(runs)} runs, {len(todo)} of them to do", flush=True)
    for number, run in enumerate(todo, start=1):
        spent = (time.monotonic() - began) / 60
        if minutes is not None and spent >= minutes:
            print(f"{minutes:g} minutes are over", flush=True)
            break
        with locked(bench.run_folder(run), wait=False) as mine:
            # Another process may have finished it since the list was made.
            if not mine or is_done(bench, run):
                continue
            seconds = do(bench, run)
        done += 1
        left = (time.monotonic() - began) / done * (len(todo) - number) / 60
        print(f"[{number}/{len(todo)}] {run.name}: {seconds:.0f} s; {left:.0f} min left", flush=True)
    return done


def do(bench: Bench, run: Run) -> float:
    """Train one arm of one subject and draw at every step count; return the seconds it took."""
    began = time.monotonic()
    config = config_of(bench, run.subject, run.arm, run.seed)
    models = dreambooth.load(config)
    config = resolve_defaults(config, models.family.name)
    album, masks = prepare(bench, run.subject, models)
    if not ARMS[run.arm].captions:
        prompt = Caption(run.subject.instance_prompt, "--instance_prompt")
        album = Album(album.photos, (prompt,) * len(album.photos))
    accelerator = build_accelerator(config.mixed_precision)
    device, folder = str(accelerator.device), RunFolder(bench.run_folder(run), "--out")
    for stage in (STAGE, ROWS_STAGE):
        folder.forget(stage)
    with locked(config.data.class_data_dir):
        class_images = dreambooth.draw_class_images(models, config, folder, device=device)
    examples = dreambooth.encode_examples(
        models,
        album,
        masks if config.masks.wanted else None,
        class_images,
        geometry=dreambooth.check(models, config, album),
        config=config,
        device=device,
    )
    state = dreambooth.begin(models, examples, config, accelerator)
    losses = []
    for progress in train(state):
        if progress.step % LOSS_EVERY == 0:
            losses.append((progress.step, round(progress.loss, 5)))
        if progress.step in bench.plan.steps:
            # Prompts without a place are drawn with the finished model only.
            last = progress.step == bench.plan.steps[-1]
            prompts = [p.text for p in run.subject.prompts if last or p.family == RECONTEXT]
            with drawing(state):
                draw(bench, models, config, prompts, bench.step_folder(run, progress.step), device)
    # The next run loads its models anew; a GPU cannot hold both.
    accelerator.free_memory()
    seconds = time.monotonic() - began
    folder.write_json(RUN_FILE, _record(run, album, losses, seconds))
    folder.mark_done(STAGE, _digest(bench, run))
    return seconds


def _digest(bench: Bench, run: Run) -> str:
    """Return a digest of what a run's pictures follow from, the photos of a data set aside."""
    plan, subject, arm = bench.plan, run.subject, ARMS[run.arm]
    return digest_of(
        *(subject.name, subject.noun, subject.identity, subject.scenes),
        [(prompt.family, prompt.text) for prompt in subject.prompts],
        *(arm.flags, arm.masks, arm.captions),
        *(run.seed, plan.steps, plan.picture_seeds, plan.flags, bench.base, bench.sam),
    )


def _record(run: Run, album: Album, losses: Sequence[tuple[int, float]], seconds: float) -> dict[str, object]:
    """Return what is kept of a run beside its pictures."""
    return {
        "subject": run.subject.name,
        "group": run.subject.group,
        "arm": run.arm,
        "seed": run.seed,
        "photos": [photo.stem for photo in album.photos],
        "seconds": round(seconds, 1),
        "losses": losses,
    }
