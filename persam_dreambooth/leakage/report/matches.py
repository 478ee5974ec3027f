"""The nearest matches: pairs of a drawn patch and the photo's patch that it came from, readable in print."""

from collections.abc import Mapping, Sequence
from typing import Any

from persam_dreambooth.leakage.report.evidence import shot_id
from persam_dreambooth.leakage.report.looks import Look, key
from persam_dreambooth.leakage.report.material import Material, Shot, shots, telling
from persam_dreambooth.leakage.report.selection import main_rows, tuned
from persam_dreambooth.leakage.report.thumbnails import data_url, patch
from persam_dreambooth.leakage.report.words import section, text

PAIRS = 4
"""Pairs of each arm."""
MAX_ARMS = 4
AROUND = 1.5
"""Cells shown on each side of the patch."""


def matches(result: Mapping[str, Any], material: Material, looks: Mapping[str, Look]) -> str:
    """Return, for each trained arm, its patches that are nearest to the photos, beside those patches."""
    found = shots(main_rows(result), material)
    grids = [photo.get("grid") for photo in result.get("inputs", {}).get("photos", ())]
    body = ""
    for arm in tuned(result)[:MAX_ARMS]:
        pairs = nearest([shot for shot in found if shot.arm == arm])
        told = "".join(_pair(shot, hit, result, material, grids) for shot, hit in pairs)
        if told:
            body += f'<h3>{key(arm, looks[arm])}</h3><div class="matches">{told}</div>'
    if not body:
        return ""
    intro = (
        "<p>Of each arm the patches that are nearer to a photo than to any decoy by most, one a picture: "
        "left as drawn, right the photo. The marked square is the patch; what lies around it was not "
        "compared. A few coincidences are normal: the base model has them too.</p>"
    )
    return section("The nearest matches", intro + body, anchor="matches")


def nearest(own: Sequence[Shot]) -> list[tuple[Shot, list[Any]]]:
    """Return an arm's PAIRS most telling patches, one a picture and one a patch of the photos."""
    everything = sorted(
        ((telling(hit), number, hit) for number, shot in enumerate(own) for hit in shot.hits),
        key=lambda found: (-found[0], found[1]),
    )
    pairs: list[tuple[Shot, list[Any]]] = []
    pictures, places = set(), set()
    for _, number, hit in everything:
        place = tuple(hit[2:5])
        if number in pictures or place in places or len(pairs) == PAIRS:
            continue
        pictures.add(number)
        places.add(place)
        pairs.append((own[number], hit))
    return pairs


def _pair(
    shot: Shot,
    hit: Sequence[Any],
    result: Mapping[str, Any],
    material: Material,
    grids: Sequence[Sequence[int] | None],
) -> str:
    """Return one pair; nothing where the photo's cells are not known."""
    row, column, photo, photo_row, photo_column, cosine = hit[:6]
    grid = grids[photo] if photo < len(grids) else None
    if grid is None:
        return ""
    own = patch(shot.pixels, shot.grid, (row, column), around=AROUND)
    theirs = patch(material.photos[photo].pixels, tuple(grid), (photo_row, photo_column), around=AROUND)
    is_mirrored = len(hit) > 7 and bool(hit[7])
    if is_mirrored:
        theirs = theirs.transpose(0)
    name = material.photos[photo].name
    words = f"{name}, cosine {cosine:.2f}{', mirrored' if is_mirrored else ''}"
    images = "".join(
        f'<img src="{data_url(image)}" alt="{text(alt)}" width="{image.width}" height="{image.height}">'
        for image, alt in (
            (own, f"Drawn by {shot.arm} for {shot.prompt}, seed {shot.seed}"),
            (theirs, f"Photo {name}, row {photo_row + 1}, column {photo_column + 1}"),
        )
    )
    return (
        f'<figure><a class="pair-link" href="#hit={text(shot_id(shot, result))}/{row}/{column}">{images}</a>'
        f"<figcaption>{text(shot.prompt)}, seed {shot.seed}<br>{text(words)}</figcaption></figure>"
    )
