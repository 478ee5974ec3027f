"""How the numbers came about: what was counted, against what, what is guaranteed and what is not."""

from collections.abc import Mapping
from string import Template
from typing import Any

from persam_dreambooth.leakage.report.verdict import drew_all
from persam_dreambooth.leakage.report.words import section, text

_GUARANTEES = """<div class="columns"><div><h3>Guaranteed</h3><ul>
<li>The gradient of the masked reconstruction loss with respect to the model’s prediction outside the mask is
exactly 0: the loss asks nothing of it. (With <code>--outside_prior_weight</code> above 0, a second term
holds the outside to what the base model itself predicts there, not to the photo.)</li>
$same</ul></div><div><h3>Not guaranteed</h3><ul>
<li>That the background has no influence. Unless it was replaced (<code>--background</code>), it still enters
as <em>input</em>: the VAE spreads it over the whole latent, and the network’s attention over the whole
picture. What this does to pictures is what the numbers above measure.</li>
<li>That the masks are right: what a mask takes in of the background is learnt. A latent cell on the subject’s
rim counts by the subject’s share of it, so a rim of up to one cell is learnt too.</li>
$trust<li>That the classifier and the subject finder never err.</li>
</ul></div></div>"""
_SAME_NOISE = "<li>Every arm drew the same prompts from the same noise.</li>\n"
_ON_TRUST = (
    "<li>That pictures of equal prompt and seed share their noise and sampler: they were drawn "
    "elsewhere.</li>\n"
)


def explanation(result: Mapping[str, Any]) -> str:
    """Return the paragraphs on how the comparison was measured, and what is promised."""
    parts = []
    if truth := result.get("truth"):
        parts.append(_truth(str(truth["subject"]), ", ".join(truth["training_backgrounds"])))
    config = result.get("config") or {}
    if decoys := config.get("decoys"):
        parts.append(_excess(config.get("features") or {}, decoys))
    if any(arm.get("likeness") for arm in result["arms"].values()):
        parts.append(
            "<strong>Likeness</strong> looks at the subject alone: cut out, centred, on grey, compared with "
            "the photos’ subjects, each photo left out in turn. 0 is what the base model draws for the class "
            "noun, 1 what the photos reach among themselves. A picture without the subject counts as 0. The "
            "usual scores of whole pictures are not shown, because they reward leakage."
        )
    parts.append(_intervals(result.get("statistics") or {}))
    body = "".join(f"<p>{part}</p>" for part in parts)
    is_known = drew_all(result)
    promised = Template(_GUARANTEES).substitute(
        same=_SAME_NOISE if is_known else "", trust="" if is_known else _ON_TRUST
    )
    return section("How this was measured", body + promised, anchor="method", css="prose")


def _truth(subject: str, places: str) -> str:
    """Return what the classifier is asked."""
    return (
        "<strong>Leaked, kept, traits</strong> come from a classifier trained on renderings of the toy "
        f"world, in which the truth is known. This {text(subject)}’s photos show: {text(places)}. A picture "
        "counts as leaked where the classifier sees one of these instead of the prompted background; a "
        "prompt that names one of these, or no background, counts in neither share. Traits is the mean "
        "probability of the individual’s main, second and accent colour, pattern and accessory. The base "
        "model has never seen the individual: its traits are what guessing earns."
    )


def _excess(features: Mapping[str, Any], decoys: Mapping[str, Any]) -> str:
    """Return how the measure without truth is computed."""
    numbers = f" ({features['num_features']} numbers)" if features.get("num_features") else ""
    chance = decoys.get("chance")
    by_chance = f"; by chance that happens in {100 * chance:.0f} %" if chance else ""
    told = (
        f" needs no known truth. Each background patch of a picture{numbers} is compared with the photos’ "
        f"backgrounds and with {decoys.get('k', 'several')} equally large banks of decoys, which are other "
        f"places. It counts as the photos’ where their bank holds the nearest patch of all{by_chance}. The "
        "base model’s share on the same prompts and seeds is subtracted. The subject is found first and "
        "left out, before the features see it; where it is not found, the whole picture counts."
    )
    return f"<strong>Excess over the base model</strong>{text(told)}"


def _intervals(statistics: Mapping[str, Any]) -> str:
    """Return what the intervals mean."""
    count = statistics.get("num_resamples")
    times = f" {count:,} times" if count else ""
    method = statistics.get("method")
    return (
        "<strong>Intervals</strong> hold 95&nbsp;%: a paired bootstrap draws prompts, then their "
        f"seeds{times}{text(f' ({method})') if method else ''}. The conditions on top are fixed in the "
        "program, not chosen after the fact."
    )
