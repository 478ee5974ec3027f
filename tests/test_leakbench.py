"""LeakBench: what it plans, the data sets that it reads, and what it refuses."""

import re
import shutil
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from persam_dreambooth.errors import UserError
from persam_dreambooth.toyworld.subjects import SUBJECTS

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import leakbench
from leakbench_dataset import read_subjects, read_words
from leakbench_plan import (
    ARMS,
    BLOCKS,
    FIXED,
    RECONTEXT,
    VARIED,
    Plan,
    fresh_subjects,
    part_of,
    toy_subjects,
)

PHOTO = Path(__file__).parent.parent / "instance_images/cat/00.png"
WORDS = """Classes

subject_name,class
rex,dog
bear,stuffed animal
far,vase

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
"a {0} {1} in front of the king's house".format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} on the beach'.format(unique_token, class_token),
'a {0} {1} wearing a red hat'.format(unique_token, class_token),
'a {0} {1} in a chef outfit'.format(unique_token, class_token)
]
"""


def plan(**changes):
    return Plan(
        **{"subjects": toy_subjects(), "arms": tuple(ARMS), "seeds": (0, 1), "steps": (5, 10), **changes}
    )


def test_eight_subjects_half_of_them_in_one_scene_and_no_prompt_asks_for_a_scene_of_the_photos():
    subjects = toy_subjects()
    assert [subject.group for subject in subjects] == [FIXED] * 4 + [VARIED] * 4
    assert len({subject.noun for subject in subjects}) == 8
    for subject in subjects:
        assert len(subject.photographed) == (1 if subject.group == FIXED else len(subject.scenes))
        places = [prompt.background for prompt in subject.prompts if prompt.family == RECONTEXT]
        assert len(set(places)) == 6
        assert not set(places) & set(subject.photographed)
        # The toy models were trained on individuals below 10,000, the samples are 20,0xx.
        assert subject.identity > 20_100


def test_fresh_subjects_are_others_two_of_each_class_one_in_one_scene():
    fresh, known = fresh_subjects(), toy_subjects()
    assert Counter((one.noun, one.group) for one in fresh) == dict.fromkeys(
        product(SUBJECTS, (FIXED, VARIED)), 1
    )
    assert not {one.identity for one in fresh} & {one.identity for one in known}
    assert not {one.name for one in fresh} & {one.name for one in known}
    assert len({one.identity for one in fresh}) == len({one.name for one in fresh}) == 24
    for one in fresh:
        assert len(one.photographed) == (1 if one.group == FIXED else len(one.scenes))
        places = {prompt.background for prompt in one.prompts if prompt.family == RECONTEXT}
        assert len(places) == 6
        assert not places & set(one.photographed)
        assert one.instance_prompt == f"a photo of sks {one.noun}"


def test_every_arm_is_there_and_differs():
    flags = [(arm.flags, arm.masks, arm.captions) for arm in ARMS.values()]
    assert len(set(flags)) == len(ARMS) == sum(map(len, BLOCKS))
    modes = {flag for arm in ARMS.values() for flag in arm.flags if arm.flags[-2:-1] == ("--background",)}
    assert {"fill", "noise", "blur", "random", "class"} <= modes


def test_the_most_telling_runs_come_first():
    runs = plan().runs()
    assert len({run.name for run in runs}) == len(runs)
    first = [(run.subject.group, run.arm) for run in runs[:32]]
    assert first == [(group, arm) for group in (FIXED, VARIED) for _ in range(4) for arm in BLOCKS[0]]
    assert [run.seed for run in runs] == [0] * 120 + [1] * 120


def test_parts_share_all_runs_and_overlap_nowhere():
    runs = plan().runs()
    parts = [part_of(runs, f"{number}/5") for number in range(1, 6)]
    assert sorted(run.name for part in parts for run in part) == sorted(run.name for run in runs)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", ["0/6", "7/6", "6", "1/0", "a/b", "-1/6"])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(UserError, match=rf"^--part {part}: no part; one like 1/6 is needed"):
        part_of(plan().runs(), part)


def test_a_subject_without_captions_is_not_trained_with_captions(tmp_path):
    photos(tmp_path, rex=2)
    runs = Plan(read_subjects(tmp_path), tuple(ARMS), (0,), (1,)).runs()
    assert "captioned" not in {run.arm for run in runs}
    for name in ("00", "01"):
        (tmp_path / f"rex/{name}.txt").write_text("a photo of sks dog on a sofa")
    runs = Plan(read_subjects(tmp_path), tuple(ARMS), (0,), (1,)).runs()
    assert "captioned" in {run.arm for run in runs}


def photos(folder, **counts):
    (folder / "prompts_and_classes.txt").write_text(WORDS)
    for name, count in counts.items():
        (folder / name).mkdir()
        for number in range(count):
            shutil.copy(PHOTO, folder / name / f"{number:02d}.png")


def test_a_data_set_is_read_with_its_own_prompts(tmp_path):
    photos(tmp_path, rex=1, bear=1)
    bear, rex = read_subjects(tmp_path)
    assert (bear.noun, rex.noun) == ("stuffed animal", "dog")
    assert [(prompt.text, prompt.base_text) for prompt in bear.prompts if prompt.family == RECONTEXT] == [
        ("a sks stuffed animal in the snow", "a stuffed animal in the snow"),
        (
            "a sks stuffed animal in front of the king's house",
            "a stuffed animal in front of the king's house",
        ),
    ]
    assert [prompt.text for prompt in rex.prompts] == [
        "a sks dog on the beach",
        "a photo of sks dog",
        "a photo of a dog",
    ]
    assert [subject.name for subject in read_subjects(tmp_path, ["rex"])] == ["rex"]


def test_a_data_set_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match=rf"^--dataset {tmp_path}: no prompts_and_classes.txt in it; "):
        read_words(tmp_path)
    (tmp_path / "prompts_and_classes.txt").write_text("Classes\n\nPrompts\n")
    with pytest.raises(UserError, match=r"prompts_and_classes.txt: no classes; lines like"):
        read_words(tmp_path)
    (tmp_path / "prompts_and_classes.txt").write_text(WORDS.replace("on the beach", ""))
    with pytest.raises(UserError, match=r"no prompts with a place below 'Live Subject Prompts'; "):
        read_words(tmp_path)
    (tmp_path / "prompts_and_classes.txt").write_text(WORDS)
    with pytest.raises(UserError, match=rf"^--dataset {tmp_path}: no subjects; "):
        read_subjects(tmp_path)
    with pytest.raises(UserError, match=r"^--subjects rex: no such folder in .*; one of none is needed"):
        read_subjects(tmp_path, ["rex"])
    (tmp_path / "tom").mkdir()
    with pytest.raises(UserError, match=r"tom: has no line in prompts_and_classes.txt; its class is needed"):
        read_subjects(tmp_path)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--quick", "--steps", "200", "100"], "--steps 200 100: not rising; numbers of steps from 1 on"),
        (["--confirm", "--subjects", "dog"], "--subjects dog: no such subject; one of cat_fixed, dog_fixed,"),
        (["--quick", "--steps", "0"], "--steps 0: not rising; "),
        (["--quick", "--subjects", "dgo"], "--subjects dgo: no such subject; .* Did you mean dog"),
        (["--dataset", "D", "--steps", "5"], "--dataset D: no --base; a model, a SAM and numbers of steps"),
        (["--dataset", "D", "--base", "B"], "--dataset D: no --sam; a model, a SAM and numbers of steps"),
        (["--dataset", "D", "--base", "B", "--sam", "S"], "--dataset D: no --steps; a model, a SAM and"),
        (["--full", "--base", "B"], "--base B: the toy world has its own; --dataset is needed"),
        (["--quick", "--sam", "S"], "--sam S: the toy world has its own; --dataset is needed"),
        (["--quick", "--publish"], "--publish: without --full or --confirm; docs/ hold the whole benchmark"),
        (["--quick", "--stages", "score"], r"--out \S+: no finished run of this plan; at least one"),
    ],
)
def test_a_command_that_cannot_be_is_answered_in_a_line(words, text, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        leakbench.main([*words, "--out", str(tmp_path / "out")])
    assert exit_.value.code == 2
    assert re.match(f"error: {text}", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
