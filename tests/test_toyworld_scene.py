"""Scenes of the toy world: the same numbers draw the same picture, and what is said of it is true."""

from itertools import combinations
from random import Random

import numpy as np
import pytest
from PIL import Image

from persam_dreambooth.toyworld import backgrounds
from persam_dreambooth.toyworld.captions import RARE_TOKENS, caption, sentences
from persam_dreambooth.toyworld.scene import BACKGROUNDS, SUBJECTS, render
from persam_dreambooth.toyworld.subjects import identity_of
from persam_dreambooth.toyworld.subjects.identity import PALETTE, PATTERN_WORDS
from persam_dreambooth.toyworld.training.data import HELD_OUT_IDENTITIES, random_scene

SIZE = 96
SCENES = [
    render(subject, BACKGROUNDS[number], identity=number, seed=3 * number, size=SIZE)
    for number, subject in enumerate(SUBJECTS)
]
EVERY_SCENE = pytest.mark.parametrize(
    "scene", SCENES, ids=lambda scene: f"{scene.subject} {scene.background}"
)


def words_of(text):
    return text.split()


def mean_colour(scene):
    """The mean colour of the subject, the photo's brightness taken out."""
    colour = scene.image[scene.mask].mean(0)
    return colour / colour.sum()


def test_the_same_numbers_give_the_same_scene():
    first, again = (render("duck", "farm", identity=4, seed=5, size=SIZE) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.caption == again.caption
    for name in ("parts", "objects"):
        one, two = getattr(first, name), getattr(again, name)
        assert list(one) == list(two)
        assert all((one[key] == two[key]).all() for key in one)


def test_every_number_changes_the_scene():
    base = render("duck", "farm", identity=4, seed=5, size=SIZE).image.astype(int)
    others = [
        render("dog", "farm", identity=4, seed=5, size=SIZE),
        render("duck", "snow", identity=4, seed=5, size=SIZE),
        render("duck", "farm", identity=6, seed=5, size=SIZE),
        render("duck", "farm", identity=4, seed=6, size=SIZE),
        render("duck", "farm", identity=4, seed=5, room=1, size=SIZE),
    ]
    assert all(np.abs(base - other.image).mean() > 2 for other in others)


@EVERY_SCENE
def test_the_mask_is_the_union_of_the_visible_parts(scene):
    union = np.any(list(scene.parts.values()), axis=0)
    assert 0.01 < scene.mask.mean() < 0.5
    assert not (union & ~scene.mask).any()
    # A pixel that two parts share is the subject's, and may be more than half of neither.
    assert (scene.mask & ~union).sum() <= 0.06 * scene.mask.sum()


@EVERY_SCENE
def test_a_pixel_belongs_to_one_thing(scene):
    masks = [*scene.parts.values(), *scene.objects.values()]
    assert all(mask.shape == (SIZE, SIZE) and mask.dtype == bool for mask in masks)
    assert not any((one & two).any() for one, two in combinations(masks, 2))
    assert not any((scene.mask & thing).any() for thing in scene.objects.values())


@EVERY_SCENE
def test_the_record_is_what_was_asked_for(scene):
    assert (scene.subject, scene.background, scene.identity) in {
        (subject, BACKGROUNDS[number], number) for number, subject in enumerate(SUBJECTS)
    }
    assert scene.image.shape == (SIZE, SIZE, 3)
    assert scene.image.dtype == np.uint8
    assert {"body", "accessory"} & set(scene.parts)
    assert "shadow" not in {*scene.parts, *scene.objects}


def test_an_individual_keeps_its_colours_from_photo_to_photo():
    colours = np.array(
        [
            [mean_colour(render("cat", "room", number, seed, size=SIZE)) for seed in range(3)]
            for number in range(6)
        ]
    )
    itself = [np.linalg.norm(colours[k, a] - colours[k, b]) for k in range(6) for a, b in [(0, 1), (1, 2)]]
    others = [np.linalg.norm(colours[a, 0] - colours[b, 0]) for a, b in combinations(range(6), 2)]
    assert np.median(others) > 2 * np.median(itself)


def test_the_size_changes_the_resolution_only():
    small, large = (render("mug", "kitchen", identity=8, seed=9, size=size) for size in (128, 256))
    assert large.image.shape == (256, 256, 3)
    assert small.caption == large.caption
    shrunk = Image.fromarray(large.mask.astype(np.uint8) * 255).resize((128, 128), Image.Resampling.BOX)
    shrunk = np.asarray(shrunk) > 127
    assert (shrunk & small.mask).sum() > 0.95 * (shrunk | small.mask).sum()
    picture = Image.fromarray(large.image).resize((128, 128), Image.Resampling.BOX)
    assert np.abs(np.asarray(picture).astype(int) - small.image).mean() < 6


def test_an_empty_place_has_no_subject():
    scene = render(None, "library", identity=1, seed=2, size=SIZE)
    assert scene.subject is None
    assert not scene.mask.any()
    assert not scene.parts
    assert scene.objects


@pytest.mark.parametrize(("subject", "background"), [("unicorn", "room"), ("cat", "moon")])
def test_an_unknown_name_is_an_error(subject, background):
    with pytest.raises(KeyError):
        render(subject, background, size=SIZE)


def test_held_out_individuals_are_never_trained_on():
    seen, unseen = (
        [random_scene(Random(f"{number}"), held_out=held_out).identity for number in range(3)]
        for held_out in (False, True)
    )
    assert max(seen) < HELD_OUT_IDENTITIES <= min(unseen)


@pytest.mark.parametrize("subject", [*SUBJECTS, None])
def test_captions_are_true(subject):
    rng = Random(f"{subject}")
    for number in range(150):
        place = rng.choice(BACKGROUNDS)
        words = words_of(caption(subject, place, number, rng))
        assert [word for word in words if word in SUBJECTS] == ([subject] if subject else [])
        told = " ".join(words)
        places = {
            name: [phrase for phrase in phrases if phrase.split(" ", 1)[1] in told]
            for name, phrases in backgrounds.PHRASES.items()
        }
        assert all(name == place for name, found in places.items() if found), told
        if subject is None:
            assert places[place], told
            continue
        looks = identity_of(subject, number)
        before, after = words[: words.index(subject)], words[words.index(subject) :]
        assert {word for word in before if word in PALETTE} <= {looks.main_name}, told
        assert {word for word in after if word in PALETTE} <= {looks.accent_name}, told
        assert {word for word in words if word in PATTERN_WORDS.values()} <= {PATTERN_WORDS[looks.pattern]}
        if "with" in after:
            assert f"with a {looks.worn}" in told


def test_captions_leave_out_the_place_the_looks_and_the_rare_word_now_and_then():
    rng = Random(0)
    captions = [caption("cat", "beach", 7, rng) for _ in range(400)]
    for some in (
        [text for text in captions if "beach" in text],
        [text for text in captions if identity_of("cat", 7).main_name in words_of(text)],
        [text for text in captions if set(words_of(text)) & set(RARE_TOKENS)],
    ):
        assert 0.03 * len(captions) < len(some) < 0.9 * len(captions)


def test_sentences_follow_from_their_seed():
    assert sentences(5, seed=1) == sentences(5, seed=1)
    assert sentences(5, seed=1) != sentences(5, seed=2)
