"""report.json and report.html: what `comparison` found, for programs and for people.

The page is one file that needs nothing else: style, drawings and pictures are inside, there is no script and
no request. Its parts are written in `page`; its frame and style are report_template.html.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from persam_dreambooth import __version__
from persam_dreambooth.files import write_text
from persam_dreambooth.leakage import page
from persam_dreambooth.leakage.explanation import explanation
from persam_dreambooth.leakage.finding import conditions, finding
from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.masks.record import SubjectMask
from persam_dreambooth.photos import Photo

JSON_FILE = "report.json"
HTML_FILE = "report.html"

_TEMPLATE = Path(__file__).with_name("report_template.html")


def write_report(
    result: dict[str, Any],
    out_dir: Path,
    *,
    photos: Sequence[Photo],
    masks: Mapping[str, SubjectMask],
    pictures: Mapping[str, Sequence[Picture]],
    losses: Mapping[str, Sequence[tuple[int, float]]],
    settings: Mapping[str, object],
    commands: Sequence[str] = (),
) -> Path:
    """Write report.json and report.html; return the page's path.

    Args:
        result: from `comparison.compare`.
        out_dir: where both files go.
        photos: the training photos.
        masks: the mask of each, by stem.
        pictures: the arms' pictures that were compared.
        losses: (step, loss) of each training, by arm; may be empty.
        settings: what the reader needs to judge or repeat the run, by name.
        commands: the exact command lines, in order.
    """
    out_dir = Path(out_dir)
    told = {
        "version": __version__,
        **result,
        "finding": finding(result),
        "conditions": [{"text": item.text, "state": item.state} for item in conditions(result)],
        "photos": [
            {
                "file": photo.path.name,
                "digest": photo.digest,
                "mask_digest": masks[photo.stem].digest,
                "mask_source": masks[photo.stem].source,
                "area_fraction": masks[photo.stem].area_fraction,
            }
            for photo in photos
        ],
        "losses": {arm: [list(point) for point in points] for arm, points in losses.items()},
        "settings": {name: _plain(value) for name, value in settings.items()},
        "commands": list(commands),
    }
    write_text(out_dir / JSON_FILE, json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    html = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=page.text(finding(result)),
        header=page.header(result),
        tiles=page.tiles(result),
        differences=page.differences(result),
        photos=page.photos(photos, masks),
        grid=page.grid(result, pictures),
        losses=page.losses(losses, result),
        table=page.table(result),
        method=explanation(result),
        settings=page.settings(told["settings"], commands),
        version=page.text(__version__),
    )
    write_text(out_dir / HTML_FILE, html)
    return out_dir / HTML_FILE


def _plain(value: object) -> object:
    """Return a setting as JSON holds it; what JSON does not know, as its text."""
    return value if isinstance(value, bool | int | float | str | None) else str(value)
