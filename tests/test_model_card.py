"""The model card: valid front matter, the truth about the training, code that runs."""

import dataclasses
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from tiny_adapters import PROVENANCE

from persam_dreambooth.diffusion.families import SD, SDXL
from persam_dreambooth.diffusion.model_card import Picture, model_card

PICTURES = [
    Picture('a photo of sks cat, "asleep": a | b', "samples/00_0.png"),
    Picture("#2", "samples/01_0.png"),
]


def card(family=SD, kind="lora", changes=None, **options):
    provenance = dataclasses.replace(PROVENANCE, **(changes or {}))
    return model_card(provenance, family, kind=kind, place="me/sks-cat", **options)


def matter(text):
    """What the hub reads: between the first two lines of dashes."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    return yaml.safe_load(found[1])


def code(text):
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def test_front_matter_is_what_the_hub_takes():
    text = card(pictures=PICTURES, grid="samples/grid.png")
    assert matter(text) == {
        "base_model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "license": "creativeml-openrail-m",
        "instance_prompt": "a photo of sks cat",
        "pipeline_tag": "text-to-image",
        "tags": [
            *("text-to-image", "diffusers", "diffusers-training", "lora", "template:sd-lora"),
            *("stable-diffusion", "stable-diffusion-diffusers"),
        ],
        "widget": [{"text": p.prompt, "output": {"url": p.file}} for p in PICTURES],
    }
    # The hub's own reader agrees.
    read = ModelCard(text).data
    assert read.license == "creativeml-openrail-m"
    assert read.to_dict()["widget"][1] == {"text": "#2", "output": {"url": "samples/01_0.png"}}


def test_tags_follow_what_was_trained():
    full = matter(card(kind="pipeline"))
    assert {"text-to-image", "dreambooth", "diffusers-training", "stable-diffusion"} <= set(full["tags"])
    assert "lora" not in full["tags"]
    assert full["base_model_relation"] == "finetune"
    assert "widget" not in full
    xl = matter(card(SDXL, changes={"settings": {"use_dora": True}}))
    assert {"dora", "stable-diffusion-xl", "stable-diffusion-xl-diffusers"} <= set(xl["tags"])


@pytest.mark.parametrize(
    ("base", "licence", "on_hub"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "creativeml-openrail-m", True),
        ("stabilityai/stable-diffusion-2-1", "openrail++", True),
        ("stabilityai/stable-diffusion-xl-base-1.0", "openrail++", True),
        ("someone/their-model", "other", True),
        ("toy", "apache-2.0", False),
        ("my-folder", "other", False),
    ],
)
def test_the_licence_is_the_base_models_and_a_folder_is_no_hub_id(base, licence, on_hub):
    text = card(changes={"base_model": base})
    found = matter(text)
    assert found["license"] == licence
    assert ("base_model" in found) == on_hub
    assert ("license_link" in found) == (licence == "other" and on_hub)
    assert f"{licence}." in text.rsplit("## Licence", 1)[1]


def test_the_card_tells_what_was_done():
    text = card(pictures=PICTURES, grid="samples/grid.png")
    assert "from 5 photos, 2 of them masked in the loss" in text
    assert "bring the subject into a picture: `a photo of sks cat`." in text
    assert "](samples/grid.png)" in text
    assert "| prompts | `a photo of sks cat` (4), `sks cat, asleep` (1) |" in text
    assert "| masks | 2, 38% of a photo on average |" in text
    assert "| steps | 400 |" in text
    assert "| learning_rate | `0.0001` |" in text
    assert "| rank | `4` |" in text
    assert "| rank |" not in card(kind="pipeline")
    assert PROVENANCE.summary in text
    assert "snr_gamma: null" in text, "every flag is there, folded away"
    bare = card(changes={"mask_digests": {}, "mask_areas": {}})
    assert "their background was learnt as well" in bare
    assert "| masks | none |" in bare
    assert "![" not in bare


def test_prompts_cannot_break_the_page():
    prompt = 'a "photo" of `sks` | cat\n---\n# not a title'
    changes = {"instance_prompt": prompt, "trigger_words": prompt, "prompts": {prompt: 5}}
    text = card(changes=changes, pictures=[Picture(prompt, "samples/00_0.png")], grid="samples/grid.png")
    assert matter(text)["instance_prompt"] == prompt
    assert matter(text)["widget"][0]["text"] == prompt
    body = text.split("\n---\n", 1)[1]
    assert "\n# not a title" not in body
    assert "\n---\n" not in body
    row = next(line for line in body.splitlines() if line.startswith("| prompts"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert repr(prompt)[1:-1].replace('"', '\\"') in code(text)
    compile(code(text), "card", "exec")


@pytest.mark.parametrize(
    ("family", "kind", "options"),
    [
        (SD, "lora", {}),
        (SDXL, "lora", {}),
        (SD, "pipeline", {}),
        (SDXL, "pipeline", {"without_text_encoder": True}),
    ],
)
def test_code_is_short_and_names_the_place(family, kind, options):
    lines = code(card(family, kind, **options)).splitlines()
    compile("\n".join(lines), "card", "exec")
    assert len(lines) <= (7 if options else 5)
    assert any('"me/sks-cat"' in line for line in lines)
    assert any("safetensors" in line for line in lines) == (kind == "lora")


def test_other_programs_are_told_what_they_can_read():
    text = card()
    assert "`pytorch_lora_weights_kohya.safetensors`" in text
    assert "A1111 does not" not in text
    assert "A1111 does not" in card(changes={"settings": {"use_dora": True}})
    assert "ComfyUI" not in card(kind="pipeline")
