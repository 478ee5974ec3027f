"""The trust box: what the numbers rest on, what was checked, what was left out, and what nobody measured."""

from collections.abc import Mapping
from typing import Any

from persam_dreambooth.leakage.measures import counted
from persam_dreambooth.leakage.report.panels import influence_text
from persam_dreambooth.leakage.report.words import definitions, section, text

_DIGEST = 12
NOT_MEASURED = (
    "Light and reflections: a warm lamp’s glow on the subject belongs to the subject’s pixels, and counts as "
    "none.",
    "Another training run: the intervals speak of other prompts and seeds for these very weights.",
    "Other subjects, other photos, other base models.",
    "Whether the pictures are good: a broken picture can leak nothing.",
)
_VALIDATION = {
    "rho_paste": "pasted backgrounds: rank correlation with the true share",
    "rho_blend": "blended backgrounds: rank correlation",
    "rho_palette": "colours alone: rank correlation",
    "rho_scene": "another view of the same place: rank correlation",
    "false_alarm": "false alarms",
    "power_10": "a leak of 10 % of the background is found",
    "power_25": "a leak of 25 % of the background is found",
    "power_50": "a leak of half of the background is found",
    "smallest_share": "smallest leak that is found reliably",
    "features": "features",
    "data": "validated on",
    "num_pictures": "pictures",
    "base": "attributed to the photos where nothing was put in",
    "gates_failed": "checks that failed",
}
_PROOF = {
    "nan_canary": "NaN canary:",
    "nan_in_every_background_pixel": "NaN in every background pixel reached",
    "input_share": "share of the loss’s input gradient that lies on the background",
    "background_influence": "background’s influence on the update",
}
_SHARES = ("false_alarm", "power", "smallest_share", "base")


def trust(result: Mapping[str, Any]) -> str:
    """Return the box; what a report does not tell is left out."""
    config, inputs = result.get("config") or {}, result.get("inputs") or {}
    entries = {
        "Features": _features(config.get("features") or {}),
        "Their validation": _validation(result.get("validation") or {}),
        "Subject not found": _missing(result) + _presence((config.get("mask") or {}).get("presence")),
        "Prompts in conflict": _dropped(config.get("prompts") or ()),
        "Decoys": _decoys(config.get("decoys") or {}),
        "Seeds": text(", ".join(str(seed) for seed in result.get("seeds") or ())),
        "Sampler": _flat(config.get("sampler") or {}),
        "Subject finder": _flat(config.get("mask") or {}),
        "Base model": _model(inputs.get("base")),
        "Models": _models(inputs.get("models") or {}),
        "Photos": _photo_digests(inputs.get("photos") or ()),
        "Proof of strictness": _proof(result.get("proof") or {}),
        "Made": text(
            ", ".join(
                f"{words}{result[name]}"
                for name, words in (("created", ""), ("version", "persam-dreambooth "))
                if result.get(name)
            )
        ),
    }
    box = definitions({name: value for name, value in entries.items() if value})
    missing = "".join(f"<li>{text(item)}</li>" for item in NOT_MEASURED)
    return section(
        "What this rests on",
        f'{box}<h3>What is not measured</h3><ul class="plain">{missing}</ul>',
        anchor="trust",
        css="trust",
    )


def _features(features: Mapping[str, Any]) -> str:
    """Return which features saw the patches."""
    if not features:
        return ""
    told = f"{features.get('name')}, version {features.get('version', 1)}"
    if features.get("num_features"):
        told += f", {counted(features['num_features'], 'number')} a patch"
    return f"{text(told)} {_digest(features.get('digest'))}"


def _validation(validation: Mapping[str, Any]) -> str:
    """Return how well the measure did where the truth was known."""
    lines = "".join(
        f"<li>{text(_VALIDATION.get(name, name.replace('_', ' ')))}: {text(_validated(name, value))}</li>"
        for name, value in validation.items()
        if not isinstance(value, dict | list)
    )
    return f"<ul>{lines}</ul>" if lines else "not validated on these photos"


def _validated(name: str, value: object) -> object:
    """Return one figure of a validation as people read it."""
    if value is None:
        return "none of those tried" if name == "smallest_share" else "cannot be told"
    if not isinstance(value, float):
        return value
    if name.startswith("power") and value in (0.0, 1.0):
        return "yes" if value else "no"
    return f"{100 * value:.0f} %" if name.startswith(_SHARES) else f"{value:.2f}"


def _missing(result: Mapping[str, Any]) -> str:
    """Return how often the subject was not found."""
    told = ", ".join(
        f"{arm} {found['subject_missing']} of {found['num_pictures']}"
        for arm, found in result["arms"].items()
        if "subject_missing" in found
    )
    return f"{text(told)}; such a picture is counted, with all of it as background" if told else ""


def _presence(presence: Mapping[str, Any] | None) -> str:
    """Return from when on a subject counted as missing, and how sure that is; nothing if it is not told."""
    if not presence:
        return ""
    threshold = presence.get("threshold")
    if threshold is None:
        return "; whatever looks most like it was taken for it: no line between there and missing was found"
    base = counted(presence.get("num_base", 0), "picture")
    places = counted(presence.get("num_places", 0), "place")
    told = (
        f"; below a resemblance of {threshold:.2f} it counts as missing, as in "
        f"{_share(presence.get('lost'))} of {base} by the base model and "
        f"{_share(presence.get('caught'))} of {places} without it"
    )
    return text(told)


def _share(value: float | None) -> str:
    """Return a share in percent."""
    return "?" if value is None else f"{100 * value:.0f} %"


def _dropped(prompts: list[Mapping[str, Any]]) -> str:
    """Return the prompts that ask for a scene like the photos' own, and whether they count."""
    if not prompts:
        return ""
    dropped = [prompt for prompt in prompts if prompt.get("dropped") or prompt.get("reason")]
    lines = "".join(
        f"<li>{text(prompt.get('text', ''))}: {text(prompt.get('reason') or 'dropped')}; "
        f"{'not counted' if prompt.get('dropped') else 'counted all the same'}</li>"
        for prompt in dropped
    )
    return f"<ul>{lines}</ul>" if lines else "none"


def _decoys(decoys: Mapping[str, Any]) -> str:
    """Return what the photos' backgrounds were compared against."""
    if not decoys:
        return ""
    told = [str(decoys["source"])] if decoys.get("source") else []
    if decoys.get("k"):
        told.append(f"{decoys['k']} banks of {decoys.get('bank_size', '?')} patches, as large as the photos’")
    if decoys.get("chance") is not None:
        told.append(f"chance {100 * decoys['chance']:.0f} %")
    return text("; ".join(told))


def _models(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Return each arm's folder and digest."""
    lines = "".join(f"<li>{text(arm)}: {_model(model)}</li>" for arm, model in models.items())
    return f"<ul>{lines}</ul>" if lines else ""


def _model(model: object) -> str:
    """Return a model's folder or name and its digest; nothing where none is told."""
    if not isinstance(model, Mapping):
        return ""
    return f"{text(model.get('folder', ''))} {_digest(model.get('digest'))}".strip()


def _photo_digests(entries: list[Mapping[str, Any]]) -> str:
    """Return the digests of the photos and their masks."""
    lines = "".join(
        f"<li>{text(entry['file'])} {_digest(entry.get('digest'))}, mask "
        f"{_digest(entry.get('mask_digest'))}</li>"
        for entry in entries
    )
    return (
        f"<details><summary>{counted(len(entries), 'digest')}</summary><ul>{lines}</ul></details>"
        if lines
        else ""
    )


def _proof(proof: Mapping[str, Mapping[str, Any]]) -> str:
    """Return, arm by arm, what was shown of the background's influence."""
    lines = []
    for arm, own in proof.items():
        told = [words for name, value in own.items() if (words := _proved(name, value))]
        if told:
            lines.append(f"<li>{text(arm)}: {'; '.join(told)}</li>")
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _proved(name: str, value: object) -> str:
    """Return one thing that was shown; flags that only repeat the others say nothing."""
    if name == "weights_sha256" and isinstance(value, list) and len(value) == 2:
        same = "bitwise equal" if value[0] == value[1] else "not equal"
        digests = f"{_digest(value[0])}, {_digest(value[1])}"
        return f"weights of two trainings with swapped backgrounds {same} ({digests})"
    if isinstance(value, bool | dict | list) or value is None:
        return ""
    if name == "text":
        # The lines below the first tell what the other entries tell.
        return text(str(value).partition("\n")[0])
    words = _PROOF.get(name, name.replace("_", " "))
    if isinstance(value, float | int):
        return f"{text(words)} {influence_text(value)}"
    return text(f"{words} {value}".strip())


def _flat(entries: Mapping[str, Any]) -> str:
    """Return settings by name in one line."""
    return text(
        ", ".join(
            f"{'' if name == 'name' else name.replace('_', ' ')} "
            f"{'x'.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in entries.items()
            if value is not None and not isinstance(value, dict)
        )
    )


def _digest(digest: object) -> str:
    """Return the beginning of a digest, the whole of it when pointed at."""
    if not isinstance(digest, str) or not digest:
        return ""
    return f'<code title="{text(digest)}">{text(digest[:_DIGEST])}</code>'
