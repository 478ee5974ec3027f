"""A comparison with everything that a report can show, small and drawn, and a reader of the page."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from leakage_cases import PROMPTS, SEEDS, comparison, disc, leaked, place, with_subject
from PIL import Image

from persam_dreambooth.leakage.pictures import Picture
from persam_dreambooth.leakage.report import write_report
from persam_dreambooth.masks.record import subject_mask
from persam_dreambooth.photos import Photo, array_digest

NASTY = "<script>alert('x')</script> & \"sks\" </style> $title cat"
GRID = (16, 16)
WORST = PROMPTS[3]
"""The prompt of which the masked arm's pictures leak, by the rows alone: it stands first."""
CELL = 8
"""Pixels of a cell's side in the photos and pictures of these cases."""
LEAKING = ("plain", PROMPTS[1], 1)
"""Arm, prompt and seed of the picture that has leaked patches."""
HITS = [[2, 3, 1, 5, 6, 0.9, 0.7, 0], [10, 12, 0, 4, 9, 0.95, 0.9, 1], [10, 13, 0, 4, 8, 0.94, 0.9, 1]]
VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """The page's tags, their attributes and its text; notes what is not closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words, self.wrong, self.data = [], [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.data = self.data or data
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        """What a reader reads, in order."""
        return " ".join(" ".join(self.words).replace("\xa0", " ").split())

    def all(self, tag, css=""):
        """Return the attributes of every such tag, of those of a class only where one is given."""
        found = [attributes for name, attributes in self.tags if name == tag]
        return [own for own in found if not css or css in own.get("class", "").split()]


def cell_colour(photo, row, column):
    """Return the colour that a cell of a photo has, which no other cell of any photo has."""
    return 20 + 13 * row, 20 + 13 * column, 60 + 90 * photo


def photo_pixels(photo):
    """Return a photo of 16 x 16 cells, each in its own colour."""
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    cells = np.stack([20 + 13 * rows, 20 + 13 * columns, np.full(GRID, 60 + 90 * photo)], axis=-1)
    return np.kron(cells, np.ones((CELL, CELL, 1))).astype(np.uint8)


def full_result(**options):
    """Return a comparison with hits, steps, curves, a proof and a validation."""
    result = comparison(**options)
    for row in result["rows"]:
        if (row["arm"], row["prompt"], row["seed"]) == LEAKING:
            row["hits"] = HITS
            row["subject_cells"] = "1" * 16 + "0" * 240
        if (row["arm"], row["prompt"]) == ("masked", WORST) and options.get("truth", True):
            row.update(leaked(attribution=0.9))
    steps = [(100, 0.1, 0.2), (200, 0.3, 0.5)]
    result["pareto"] = [
        {"arm": arm, "step": step, "excess": around(share * x), "likeness": around(y), "leak": around(x)}
        for arm, share in (("plain", 1.0), ("masked", 0.5))
        for step, x, y in steps
    ]
    curve = [[0, 0.0, -0.02, 0.02], [100, 0.2, -0.02, 0.03]]
    result["training"] = {
        "plain": {
            "losses": [[1, 0.5], [2, 0.4]],
            "background_advantage": curve,
            "background_influence": 0.41,
        },
        "masked": {"losses": [[1, 0.6], [2, 0.3]], "background_influence": 0.0},
    }
    result["proof"] = {"masked": {"nan_canary": "pass", "weights_sha256": ["ab" * 32, "ab" * 32]}}
    result["validation"] = {"rho_paste": 0.78, "power_10": 1.0, "false_alarm": 0.05, "smallest_share": None}
    result["warnings"] = ["one scene & little else"]
    result["config"]["features"] = {"name": "ct", "version": 1, "digest": "cd" * 32, "num_features": 22}
    result["config"]["decoys"] = {"source": "48 <places>", "k": 19, "bank_size": 400, "chance": 0.05}
    result["inputs"] = {
        "photos": [{"own_attribution": own, "grid": list(GRID)} for own in (0.62, 0.08)],
        "base": {"folder": "a-base", "digest": "ef" * 32},
        "models": {"plain": {"folder": "plain", "digest": "12" * 32}},
    }
    return result


def around(mean, half=0.05, n=8):
    """Return an estimate with its interval half as wide to each side."""
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n}


def write(result, out_dir, *, prompts=PROMPTS, seeds=SEEDS, with_files=False, names=("00", "01"), **options):
    """Write a report and return its path; with files, the pictures and photos lie beside it."""
    out_dir = Path(out_dir)
    photos = []
    for number, stem in enumerate(names):
        pixels = photo_pixels(number)
        photos.append(Photo(saved(out_dir / "photos" / f"{stem}.png", pixels), pixels, array_digest(pixels)))
    masks = {
        stem: subject_mask(stem, disc(), kind)
        for stem, kind in zip(names, ("given", "persam_f"), strict=True)
    }
    pictures = {}
    for arm in result["arms"]:
        for number, prompt in enumerate(prompts):
            for seed in seeds:
                pixels = with_subject(place(1 + number, seed))
                file = out_dir / "pictures" / arm / f"{number:02d}_{seed}.png"
                path = saved(file, pixels) if with_files else None
                pictures.setdefault(arm, []).append(Picture(prompt, None, seed, pixels, path=path))
    told = {"settings": {"steps": 200, "model": "toy"}, "commands": ["train --x 'a & b'"], **options}
    return write_report(result, out_dir, photos=photos, masks=masks, pictures=pictures, **told)


def saved(path, pixels):
    """Save a picture and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
