"""The two pictures of the README, from a finished demonstration.

make demo
python benchmarks/readme_pictures.py --demo output/demo --out docs/images
"""

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ARMS = {"base": "base model", "plain": "plain DreamBooth", "masked": "with masks"}
CELL, MARGIN, LABEL = 128, 6, 190
NUM_PHOTOS = 3


def comparison(demo: Path, seed: int) -> Image.Image:
    """Rows: base, plain, masked; columns: the prompts with one seed."""
    rows = json.loads((demo / "report.json").read_text(encoding="utf-8"))["rows"]
    shown = [row for row in rows if (row["family"], row["seed"], row["step"]) == ("recontext", seed, None)]
    columns = list(dict.fromkeys(row["prompt"] for row in shown))
    files = {(row["arm"], row["prompt"]): demo / row["picture"] for row in shown}
    font = ImageFont.load_default(20)
    width = LABEL + len(columns) * (CELL + MARGIN)
    sheet = Image.new("RGB", (width, len(ARMS) * (CELL + MARGIN) - MARGIN), "white")
    for row, (arm, label) in enumerate(ARMS.items()):
        top = row * (CELL + MARGIN)
        ImageDraw.Draw(sheet).text((0, top + CELL / 2), label, fill="black", font=font, anchor="lm")
        for column, prompt in enumerate(columns):
            picture = Image.open(files[arm, prompt]).convert("RGB")
            left = LABEL + column * (CELL + MARGIN)
            sheet.paste(picture.resize((CELL, CELL), Image.Resampling.BICUBIC), (left, top))
    return sheet


def masks(demo: Path) -> Image.Image:
    """The first photos of the contact sheet."""
    sheet = Image.open(demo / "masks" / "contact_sheet.png").convert("RGB")
    return sheet.crop((0, 0, sheet.width, round(sheet.height * NUM_PHOTOS / 5)))


def main() -> None:
    """Write both pictures; without a finished demonstration, say how to get one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, default=Path("output/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not (args.demo / "report.json").exists():
        print(f"{args.demo}: no finished demonstration; run make demo first")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    comparison(args.demo, args.seed).save(args.out / "comparison.png", optimize=True)
    masks(args.demo).save(args.out / "masks.png", optimize=True)


if __name__ == "__main__":
    main()
