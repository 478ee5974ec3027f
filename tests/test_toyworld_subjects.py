"""The twelve drawn subjects: deterministic, whole, inside their canvas, and each individual different."""

import math
from random import Random

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth.toyworld.canvas import Canvas
from persam_dreambooth.toyworld.subjects import DRAW, SUBJECTS, Identity, Pose, identity_of, random_pose
from persam_dreambooth.toyworld.subjects.identity import ACCESSORIES, MIN_CONTRAST, PALETTE, PATTERN_WORDS

SIZE = 90
MAIN_PARTS = {
    "cat": "head",
    "dog": "head",
    "duck": "head",
    "teapot": "lid",
    "backpack": "flap",
    "car": "cabin",
    "mug": "rim",
    "robot": "head",
    "bird": "head",
    "boot": "cuff",
    "plant": "flower",
    "clock": "dial",
}


def painted(subject: str, identity: Identity, pose: Pose) -> Canvas:
    """The canvas after `subject` was drawn on it."""
    canvas = Canvas(SIZE, SIZE)
    DRAW[subject](canvas, identity, pose)
    return canvas


def flat(canvas: Canvas) -> np.ndarray:
    """The drawing at its final size, RGBA as float [SIZE SIZE 4]."""
    return np.asarray(canvas.flatten().resize((SIZE, SIZE), Image.Resampling.BOX)).astype(np.float32)


def colour_shares(canvas: Canvas) -> np.ndarray:
    """How much of the subject has each of 4 x 4 x 4 coarse colours, wherever they are; sums to 1."""
    picture = flat(canvas)
    coarse = (picture[picture[..., 3] > 127][:, :3] // 64).astype(int)
    counts = np.bincount(coarse @ [16, 4, 1], minlength=64)
    return counts / counts.sum()


def visible_areas(canvas: Canvas) -> dict[str, float]:
    """Fraction of the canvas in which each part is the topmost one."""
    top = np.zeros(canvas.size[::-1], dtype=int)
    names = sorted({part.name for part in canvas.parts})
    for part in canvas.parts:
        top[np.asarray(part.image.getchannel("A")) > 127] = names.index(part.name) + 1
    return {name: float((top == index + 1).mean()) for index, name in enumerate(names)}


def test_there_are_twelve_kinds_named_by_one_word() -> None:
    assert len(SUBJECTS) == 12
    assert all(name.isalpha() and name.islower() for name in SUBJECTS)
    assert set(SUBJECTS) == set(ACCESSORIES)


def test_identity_is_a_function_of_kind_and_number() -> None:
    assert identity_of("cat", 5) == identity_of("cat", 5)
    assert identity_of("cat", 5) != identity_of("dog", 5)
    with pytest.raises(KeyError):
        identity_of("unicorn", 0)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_identities_are_in_range_and_contrast(subject: str) -> None:
    identities = [identity_of(subject, number) for number in range(200)]
    for identity in identities:
        colours = (identity.main, identity.second, identity.accent)
        names = (identity.main_name, identity.second_name, identity.accent_name)
        assert colours == tuple(PALETTE[name] for name in names)
        assert all(math.dist(colours[a], colours[b]) >= MIN_CONTRAST for a, b in ((0, 1), (0, 2), (1, 2)))
        assert identity.pattern in PATTERN_WORDS
        assert identity.accessory in ACCESSORIES[subject]
        assert all(0.0 <= share <= 1.0 for share in identity.build)
    assert len(set(identities)) == 200
    assert {identity.main_name for identity in identities} == set(PALETTE)


def test_words_name_what_is_drawn() -> None:
    identity = identity_of("cat", 0)
    assert identity.adjectives == f"{identity.main_name} {PATTERN_WORDS[identity.pattern]}"
    assert identity.worn == f"{identity.accent_name} {identity.accessory}"


def test_poses_stay_in_their_ranges() -> None:
    poses = [random_pose(Random(seed)) for seed in range(200)]
    assert poses[0] == random_pose(Random(0))
    assert all(-1.0 <= value <= 1.0 for pose in poses for value in (pose.turn, pose.lift, pose.head))
    assert all(0.0 <= pose.mouth <= 1.0 for pose in poses)
    assert {pose.blink for pose in poses} == {True, False}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_drawing_is_deterministic(subject: str) -> None:
    identity, pose = identity_of(subject, 1), random_pose(Random(1))
    assert np.array_equal(flat(painted(subject, identity, pose)), flat(painted(subject, identity, pose)))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_part_is_visible(subject: str) -> None:
    for number in range(6):
        areas = visible_areas(painted(subject, identity_of(subject, number), random_pose(Random(number))))
        assert {"body", "accessory", MAIN_PARTS[subject]} <= set(areas)
        # 0.002 of a 90 pixel canvas is 16 pixels: the least that can still be told apart.
        assert min(areas.values()) > 0.002, (number, areas)
        assert areas["body"] > 0.03, (number, areas)
        assert areas[MAIN_PARTS[subject]] > 0.01, (number, areas)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subject_stays_inside_and_stands_on_the_ground(subject: str) -> None:
    rng = Random(7)
    extremes = [Pose(turn=t, lift=li, head=h) for t in (-1, 1) for li in (-1, 1) for h in (-1, 1)]
    for number in range(16):
        pose = extremes[number % 8] if number < 8 else random_pose(rng)
        alpha = flat(painted(subject, identity_of(subject, number), pose))[..., 3] > 127
        rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
        assert rows[0] >= 1, (number, pose)
        assert columns[0] >= 1, (number, pose)
        assert columns[-1] <= SIZE - 2, (number, pose)
        assert 0.92 * SIZE <= rows[-1] <= 0.99 * SIZE, (number, pose)
        assert 0.2 < alpha.mean() < 0.8


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_individual_differs_more_from_others_than_from_itself_in_another_pose(subject: str) -> None:
    identities = [identity_of(subject, number) for number in range(10)]
    still, moved = (
        [colour_shares(painted(subject, identity, pose)) for identity in identities]
        for pose in (Pose(), Pose(turn=0.7, lift=-0.7, head=0.5))
    )
    itself = [float(np.abs(a - b).sum()) for a, b in zip(still, moved, strict=True)]
    others = [float(np.abs(still[a] - still[b]).sum()) for a in range(10) for b in range(a)]
    assert np.median(others) > 3 * np.median(itself)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("limb", ["turn", "lift", "head"])
def test_every_number_of_a_pose_moves_something(subject: str, limb: str) -> None:
    identity = identity_of(subject, 2)
    low, high = (flat(painted(subject, identity, Pose(**{limb: value}))) for value in (-1.0, 1.0))
    assert np.abs(low - high).mean() > 0.15


def test_eyes_shut() -> None:
    identity = identity_of("cat", 0)
    awake, asleep = (flat(painted("cat", identity, Pose(blink=blink))) for blink in (False, True))
    assert np.abs(awake - asleep).mean() > 0.3
