"""LeakBench on small random models: what is trained and drawn, what is not done twice, what is measured."""

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from tiny_pipelines import tiny_folder

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from leakbench_albums import Bench, locked, write_toy_photos
from leakbench_dataset import read_subjects
from leakbench_page import page_of, write_new_page
from leakbench_plan import Plan, Run, toy_subjects
from leakbench_runs import ROWS_STAGE, RUN_FILE, is_done, work
from leakbench_scores import (
    ROWS_FILE,
    device_of,
    drawn,
    features_of,
    measure_digest,
    read_rows,
    score,
    write_rows,
)

import persam_dreambooth
from persam_dreambooth.diffusion.training import build_accelerator
from persam_dreambooth.errors import UserError
from persam_dreambooth.photos import read_mask, read_photo
from persam_dreambooth.run import RunFolder

CAT = Path(__file__).parent.parent / "instance_images/cat"
WORDS = """cat,cat
Object Prompts
'a {0} {1} in snow'.format(unique_token, class_token),
Live Subject Prompts
'a {0} {1} in snow'.format(unique_token, class_token),
'a {0} {1} on the beach'.format(unique_token, class_token),
"""
FLAGS = (
    *("--num_inference_steps", "2", "--train_batch_size", "1", "--num_class_images", "2"),
    *("--resolution", "32", "--learning_rate", "1e-3", "--report_to", "none", "--lr_warmup_steps", "0"),
)


def bench_in(folder, arms=("plain", "masked")):
    photos = folder / "photos"
    (photos / "cat").mkdir(parents=True)
    (photos / "prompts_and_classes.txt").write_text(WORDS)
    for name in ("00.png", "00.mask.png", "01.png", "02.png"):
        shutil.copy(CAT / name, photos / "cat" / name)
    return Bench(
        Plan(read_subjects(photos), arms, (0,), (1, 2), picture_seeds=(0, 1), flags=FLAGS),
        folder / "out",
        base=str(tiny_folder()),
        photos=photos,
        decoy_prompts=("a photo of snow", "the beach", "a toy", "a dog in the snow", "snow on the beach"),
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two finished runs."""
    made = bench_in(tmp_path_factory.mktemp("leakbench"))
    assert work(made, made.plan.runs()) == 2
    return made


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("??_?.png"))}


def test_every_step_is_drawn_and_prompts_without_a_place_only_at_the_end(bench):
    plain, masked = bench.plan.runs()
    asked = [{text for text, _, _ in drawn(bench.step_folder(plain, step))} for step in (1, 2)]
    places = {"a sks cat in snow", "a sks cat on the beach"}
    assert asked == [places, places | {"a photo of sks cat", "a photo of a cat"}]
    # The noise is the same, so that only the training can have made a difference.
    first, second, trained = (
        pictures(bench.step_folder(run, step)) for run, step in ((plain, 1), (plain, 2), (masked, 2))
    )
    assert first["00_0.png"] != second["00_0.png"] != trained["00_0.png"]


def test_what_is_finished_is_not_done_again_and_what_was_cut_off_is(bench):
    plain, _ = bench.plan.runs()
    assert work(bench, bench.plan.runs()) == 0
    before = pictures(bench.step_folder(plain, 2))
    folder = RunFolder(bench.run_folder(plain))
    folder.mark_done(ROWS_STAGE, "of these pictures")
    # As a kill leaves it: some pictures, no record.
    (bench.run_folder(plain) / RUN_FILE).unlink()
    shutil.rmtree(bench.step_folder(plain, 2))
    assert not is_done(bench, plain)
    assert work(bench, bench.plan.runs()) == 1
    assert pictures(bench.step_folder(plain, 2)) == before
    assert not folder.is_done(ROWS_STAGE, "of these pictures")


def test_a_run_of_another_plan_is_not_taken_for_done(bench):
    (run, _) = bench.plan.runs()
    assert is_done(bench, run)
    for changes in ({"steps": (1, 3)}, {"picture_seeds": (0,)}, {"flags": (*FLAGS, "--mask_mode", "strict")}):
        other = dataclasses.replace(bench, plan=dataclasses.replace(bench.plan, **changes))
        assert not is_done(other, run)
    assert not is_done(bench, Run(run.subject, run.arm, 1))


def test_a_run_that_another_process_is_at_is_passed_over(tmp_path, bench):
    other = dataclasses.replace(bench, out=tmp_path)
    (run, _) = other.plan.runs()
    # flock counts each opening of the file for itself, as if it were another process's.
    with locked(other.run_folder(run)) as mine:
        assert mine
        with locked(other.run_folder(run), wait=False) as too:
            assert not too
        assert work(other, [run]) == 0
    assert not is_done(other, run)


def test_no_run_begins_when_the_time_is_over(tmp_path, bench):
    other = dataclasses.replace(bench, out=tmp_path)
    assert work(other, other.plan.runs(), minutes=0) == 0
    assert not (tmp_path / "runs").exists()


def test_toy_photos_show_one_individual_with_its_mask_and_place(tmp_path):
    dog, *_, mug = toy_subjects()
    write_toy_photos(dog, tmp_path / "dog")
    first = read_photo(tmp_path / "dog/00.png")
    assert 0.02 < read_mask(tmp_path / "dog/00.mask.png", first.size).mean() < 0.5
    assert len({read_photo(path).digest for path in (tmp_path / "dog").glob("0?.png")}) == 4
    write_toy_photos(mug, tmp_path / "mug")
    assert [(tmp_path / f"mug/0{number}.txt").read_text() for number in range(4)] == [
        "a photo of sks mug on a farm\n",
        "a photo of sks mug in the mountains\n",
        "a photo of sks mug in a living room\n",
        "a photo of sks mug in a city\n",
    ]


def test_a_run_is_measured_once_and_for_itself(tmp_path, bench):
    features = features_of("ct", bench)
    for folder in ("runs", "masks", "base", "decoys"):
        shutil.copytree(bench.out / folder, tmp_path / folder)
    other = dataclasses.replace(bench, out=tmp_path)
    plain, masked = other.plan.runs()
    files = [other.run_folder(run) / ROWS_FILE for run in (masked, plain)]
    picture = next(other.step_folder(plain, 1).glob("??_?.png"))
    whole = picture.read_bytes()
    picture.write_bytes(b"half a picture")
    # Measured one by one in the order of their names, the first is kept where the second stops.
    with pytest.raises(UserError, match=str(picture)):
        score(other, [plain, masked], features, at_a_time=1)
    assert [file.exists() for file in files] == [True, False]
    first = files[0].stat().st_mtime_ns
    picture.write_bytes(whole)
    one_by_one = score(other, [plain, masked], features, at_a_time=1)
    assert files[0].stat().st_mtime_ns == first
    assert one_by_one == score(other, [plain, masked], features, again=True)
    assert files[0].stat().st_mtime_ns > first


def test_rows_of_another_sam_are_made_anew(tmp_path, bench):
    shutil.copytree(Path(persam_dreambooth.__file__).parent / "toyworld/models/sam", tmp_path / "sam")
    features, other = features_of("ct", bench), dataclasses.replace(bench, sam=str(tmp_path / "sam"))
    same = measure_digest(other, features)
    with (tmp_path / "sam" / "config.json").open("a") as file:
        file.write("\n")
    assert measure_digest(other, features) != same
    # What the judge of the toy world says is part of the rows; a data set has none.
    assert measure_digest(dataclasses.replace(bench, photos=None), features) != measure_digest(
        bench, features
    )


def test_pictures_are_measured_after_a_training_of_another_precision():
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        build_accelerator("bf16")
        assert device_of()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.slow
def test_from_a_data_set_to_the_page(tmp_path):
    arms = ("plain", "masked", "masked_outside", "random", "class", "plain_prior", "blur", "fill", "noise")
    made = bench_in(tmp_path, arms)
    runs = made.plan.runs()
    assert work(made, runs) == len(arms)
    features = features_of("ct", made)
    rows = score(made, runs, features)
    # Base: 4 prompts x 2 seeds; a run: 2 places at the first step, all 4 prompts at the last.
    assert len(rows) == 8 + len(arms) * (4 + 8)
    assert {row["step"] for row in rows} == {1, None}
    assert all(0 <= row["attribution"] <= 1 for row in rows if row["attribution"] is not None)
    assert all(row["leak"] is None for row in rows)
    shutil.rmtree(made.step_folder(runs[0], 1))
    assert score(made, runs, features) == rows
    write_rows(tmp_path / "rows.json.gz", rows, {"features": features.name, "steps": made.plan.steps})
    write_new_page(tmp_path / "leakage.md", page_of(*read_rows(tmp_path / "rows.json.gz")))
    page = (tmp_path / "leakage.md").read_text()
    assert "9 trainings of 1 subject (1 photos)" in page
    assert (tmp_path / "leakbench_pareto.svg").read_text().startswith("<svg")
