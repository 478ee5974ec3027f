"""What the models are asked for: families, the rare word and its removal, files of prompts."""

import pytest

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.pictures import FAMILIES
from persam_dreambooth.leakage.prompts import (
    PRESETS,
    build_prompts,
    check_prompts,
    has_word,
    read_prompts,
    scenes_for,
    toy_scenes,
    with_article,
    without_token,
)
from persam_dreambooth.leakage.scenes import (
    DECOY_KINDS,
    DREAMBOOTH_LIVING,
    DREAMBOOTH_OBJECTS,
    LIVING_SCENES,
    OBJECT_SCENES,
)

WORDS = {"token": "sks", "class_noun": "cat"}


@pytest.mark.parametrize(
    ("preset", "scenes", "seeds"), [("quick", 4, 2), ("default", 10, 4), ("full", 20, 4)]
)
def test_presets_ask_for_as_many_scenes_as_they_say(preset, scenes, seeds):
    assert (PRESETS[preset].num_scenes, PRESETS[preset].num_seeds) == (scenes, seeds)
    prompts = build_prompts(OBJECT_SCENES, num_scenes=scenes, **WORDS)
    counts = [sum(prompt.family == family for prompt in prompts) for family in FAMILIES]
    assert counts == [scenes, 2, 2, 2]


def test_only_the_tuned_models_are_told_the_rare_word():
    prompts = build_prompts(LIVING_SCENES, **WORDS)
    for prompt in prompts:
        assert has_word(prompt.text, "sks") == (prompt.family in ("recontext", "bare"))
        assert not has_word(prompt.base_text, "sks")
    assert len({prompt.text for prompt in prompts}) == len({prompt.id for prompt in prompts}) == len(prompts)
    first = prompts[0]
    assert first.text == "a photo of sks cat running on a sandy beach by the sea"
    assert first.base_text == "a photo of a cat running on a sandy beach by the sea"
    assert first.scene == "a photo of a sandy beach by the sea"


def test_the_places_are_many_and_no_decoy_is_a_prompt():
    decoys = {place for kind in DECOY_KINDS for place in kind}
    assert (len(DECOY_KINDS), len(decoys)) == (19, 57)
    for scenes in (OBJECT_SCENES, LIVING_SCENES):
        assert len({scene.place for scene in scenes}) == len(scenes) == 20
        assert not {scene.place for scene in scenes} & decoys
    assert (len(DREAMBOOTH_OBJECTS), len(DREAMBOOTH_LIVING)) == (20, 10)


@pytest.mark.parametrize(
    ("noun", "scenes"),
    [
        ("dog", LIVING_SCENES),
        ("black Cat", LIVING_SCENES),
        ("backpack", OBJECT_SCENES),
        ("stuffed animal", OBJECT_SCENES),
        ("toy dog", OBJECT_SCENES),
    ],
)
def test_animals_do_not_lie_on_shelves(noun, scenes):
    assert scenes_for(noun) == scenes
    published = DREAMBOOTH_LIVING if scenes is LIVING_SCENES else DREAMBOOTH_OBJECTS
    assert scenes_for(noun, published=True) == published


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a photo of sks cat", "a photo of a cat"),
        ("a photo of an sks cat", "a photo of a cat"),
        ("a photo of a sks owl on a roof", "a photo of an owl on a roof"),
        ("the sks cat sleeps", "the cat sleeps"),
        ("sks backpack, sks backpack", "a backpack, a backpack"),
        ("asks sks", "asks"),
    ],
)
def test_the_rare_word_is_taken_out_and_the_sentence_put_right(text, left):
    assert without_token(text, "sks") == left


def test_a_token_need_not_be_letters():
    assert has_word("a photo of <my-cat> cat", "<my-cat>")
    assert without_token("a photo of <my-cat> cat", "<my-cat>") == "a photo of a cat"
    assert not has_word("a photo of sksy cat", "sks")
    assert (with_article("owl"), with_article("cat")) == ("an owl", "a cat")


def test_the_toy_is_asked_for_its_own_places_but_those_in_the_photos():
    scenes, names = toy_scenes(("room", "kitchen"))
    prompts = build_prompts(scenes, names=names, **WORDS)
    recontext = [prompt for prompt in prompts if prompt.family == "recontext"]
    assert len(recontext) == 10
    assert recontext[0].text == "a photo of sks cat on a beach"
    assert (recontext[0].background, recontext[0].scene) == ("beach", "a photo of a beach")
    assert not {"room", "kitchen"} & {prompt.background for prompt in recontext}


def test_a_file_of_prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("# mine\n\n{subject} on the moon | the moon\na photo of my sks cat, in a tent\nsks cat\n")
    prompts = read_prompts(path, **WORDS)
    assert [prompt.text for prompt in prompts[:3]] == [
        "sks cat on the moon",
        "a photo of my sks cat, in a tent",
        "sks cat",
    ]
    assert [prompt.base_text for prompt in prompts[:3]] == [
        "a cat on the moon",
        "a photo of my cat, in a tent",
        "a cat",
    ]
    assert [prompt.scene for prompt in prompts[:3]] == ["a photo of the moon", "a photo of a tent", ""]
    assert [prompt.text for prompt in prompts if prompt.family == "none"] == [
        "a photo of the moon",
        "a photo of a tent",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"^--prompts .*prompts.txt: no such file; a text file with a prompt a line is needed"),
        ("# nothing\n", r"^--prompts .*: no prompts in this file"),
        ("sks cat here\nsks cat here\n", r"^--prompts .*: 'sks cat here' stands there twice"),
        ("a cat on the moon\n", r"^--prompts 'a cat on the moon': does not hold --token sks"),
        (b"\xff\xfe sks", r"^--prompts .*: is no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, text, said):
    path = tmp_path / "prompts.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=said):
        read_prompts(path, **WORDS)


def test_prompts_without_the_subject_need_no_token():
    check_prompts(build_prompts(OBJECT_SCENES, **WORDS), "sks")
    with pytest.raises(UserError, match="without it a tuned model is not asked for the subject"):
        check_prompts(build_prompts(OBJECT_SCENES, **WORDS), "zwx")
