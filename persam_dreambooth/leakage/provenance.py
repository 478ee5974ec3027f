"""What a report says beside the numbers: where photos, models, prompts and decoys came from."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from persam_dreambooth.diffusion.model_folders import TOY
from persam_dreambooth.leakage.album import Album
from persam_dreambooth.leakage.drawing import write_noise
from persam_dreambooth.leakage.plan import Plan
from persam_dreambooth.leakage.presence import Presence
from persam_dreambooth.leakage.training_record import proof_of, training_of

NOISE_FILE = "noise.npz"


def told(
    plan: Plan, result: Mapping[str, Any], presence: Presence, *, source: str, size: tuple[int, int]
) -> dict[str, Any]:
    """Return what a report says of a plan, over what was measured; the noise is written beside it.

    Args:
        plan: of the comparison.
        result: from `compare`.
        presence: from which resemblance on a subject counted as there.
        source: of the decoys, in words.
        size: (height, width) of the pictures.
    """
    config = dict(result["config"]) | {
        "preset": plan.preset,
        "asked_of_base": {prompt.text: prompt.base_text for prompt in plan.prompts},
        "sampler": _sampler(plan, size),
        "mask": mask_told(plan.album, plan.sam, presence),
        "vae_round_trip": plan.vae_round_trip,
        "scene_judge": plan.scene_judge,
    }
    config["decoys"] = {**config["decoys"], "source": source}
    return {
        "created": now(),
        "config": config,
        "inputs": {
            "photos": photos_told(plan.album, result["inputs"]["photos"]),
            "base": {"folder": plan.base.name, "digest": plan.base.digest},
            "models": {
                arm.name: {"folder": str(arm.run or arm.place), "digest": arm.digest(plan.base)}
                for arm in plan.arms
            },
        },
        "training": {arm.name: training_of(arm.run) for arm in plan.arms if arm.run},
        "proof": {arm.name: proof for arm in plan.arms if arm.run and (proof := proof_of(arm.run))},
        "warnings": [*result["warnings"], *warnings_of(plan)],
    }


def mask_told(album: Album, sam: str, presence: Presence) -> dict[str, Any]:
    """Return how the subject was found in the pictures, and from when on it was called missing."""
    return {
        "method": "persam_f",
        "sam": sam,
        **({} if album.sam_adapter is None else {"sam_adapter": str(album.sam_adapter)}),
        "references": list(album.references),
        "presence": presence.record(),
    }


def photos_told(album: Album, measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what a report says of each photo, with what was measured of it."""
    records = []
    for photo, own in zip(album.photos, measured, strict=True):
        mask = album.masks[photo.stem]
        records.append(
            {
                "file": photo.path.name,
                "digest": photo.digest,
                "mask_digest": mask.digest,
                "mask_source": mask.source,
                "area_fraction": mask.area_fraction,
                **own,
            }
        )
    return records


def warnings_of(plan: Plan) -> list[str]:
    """Return what a reader should know before trusting the numbers."""
    found = album_warnings(plan.album)
    if plan.sam == TOY and plan.base.name != TOY:
        found.append(
            "the embedded SAM, which knows drawn scenes only, looked for the subject: name a real one by "
            "--sam"
        )
    if plan.checkpoints and not any(arm.run for arm in plan.arms):
        found.append("no model comes with the folder of its training: there are no checkpoints to measure")
    return found


def poorly_seen(validation: Mapping[str, Any] | None) -> list[str]:
    """Return a warning where leaks planted in the base's pictures were not seen as they should be."""
    failed = (validation or {}).get("gates_failed")
    if not failed:
        return []
    share = validation.get("smallest_share")
    least = "none is found reliably" if share is None else f"the smallest found reliably is {share:.0%} of it"
    return [
        f"{failed} of the checks with leaks planted in the background of the base model's pictures fail with "
        f"these photos and features ({least}): take other --features, or decoys more like the pictures"
    ]


def album_warnings(album: Album) -> list[str]:
    """Return what a reader should know of the photos."""
    if not album.left_out:
        return []
    return [f"photos without a mask took no part: {', '.join(album.left_out)}"]


def now() -> str:
    """Return the time, to the second, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _sampler(plan: Plan, size: tuple[int, int]) -> dict[str, Any]:
    """Return how every picture was drawn, with a digest of the noise that each seed stands for."""
    seeds = sorted({*plan.seeds, *plan.other_seeds})
    return {
        "name": plan.base.sampling.get("_class_name"),
        **plan.sampler.record(),
        "precision": plan.sampler.precision or "fp16 on an accelerator, else fp32",
        "size": list(size),
        "noise": write_noise(plan.base.noise_shape, seeds, plan.out / NOISE_FILE),
    }
