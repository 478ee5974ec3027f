"""Seconds and memory of finding a subject: encode, fit and find, for the toy SAM and for SAMs of real size.

    python benchmarks/segment_speed.py             # the toy and a ViT-B with random weights
    python benchmarks/segment_speed.py --vit_h     # and a ViT-H: 2.6 GB of weights, minutes on a CPU

A photo of 1024 x 768 px is encoded; PerSAM-F is fitted on it and finds the subject in it, and so does PerSAM,
whose first pass is guided. Weights do not change how long this takes, so random ones will do.
Each model has a process of its own, so that the peak of its memory is its own.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from transformers import SamConfig, SamModel, SamVisionConfig

from persam_dreambooth.masks import persam, persam_f
from persam_dreambooth.masks.cells import Reference
from persam_dreambooth.sam.segmenter import Segmenter

SIZE = (768, 1024)
SIZES = {
    "vit_b": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "vit_h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
}
REPEATS = 3


def photo() -> tuple[np.ndarray, np.ndarray]:
    """A disc on noise, uint8 [H W 3], and the disc's mask, bool [H W]."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    mask = (rows - 380) ** 2 + (columns - 450) ** 2 < 200**2
    pixels = np.random.default_rng(0).integers(0, 120, (*SIZE, 3), dtype=np.uint8)
    pixels[mask] = (220, 40, 30)
    return pixels, mask


def random_segmenter(name: str, device: str, encoder_dtype: torch.dtype) -> Segmenter:
    """The toy, or a SAM of this name's size whose random decoder gives masks neither empty nor full."""
    if name == "toy":
        return Segmenter.load("toy", device, encoder_dtype=encoder_dtype)
    torch.manual_seed(0)
    model = SamModel(SamConfig(vision_config=SamVisionConfig(initializer_range=0.02, **SIZES[name])))
    for weight in model.mask_decoder.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return Segmenter(model, device, encoder_dtype=encoder_dtype)


def seconds(work: Callable[[], object], repeats: int) -> tuple[float, object]:
    """The median of the seconds that the work takes, and what it returns."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)), result


def measure(name: str, device: str, bfloat16: bool, threads: int) -> dict[str, object]:
    """Times in seconds and the peak of memory in MiB of one model; the GPU's memory where it runs there."""
    torch.set_num_threads(threads)
    segmenter = random_segmenter(name, device, torch.bfloat16 if bfloat16 else torch.float32)
    pixels, mask = photo()
    encode_s, embedding = seconds(lambda: segmenter.encode(pixels), 1 if name == "vit_h" else 2)
    references = [Reference(embedding, mask, "photo")]
    fit_s, target = seconds(lambda: persam_f.fit(segmenter, references), REPEATS)
    find_s, _ = seconds(lambda: persam_f.find(segmenter, embedding, target, "photo"), REPEATS)
    guide = persam.fit(segmenter, references)
    guided_s, _ = seconds(lambda: persam.find(segmenter, embedding, guide, "photo"), REPEATS)
    on_gpu = torch.device(device).type == "cuda"
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = torch.cuda.max_memory_allocated() if on_gpu else unit * _peak_memory()
    return {
        "model": name,
        "million_parameters": round(sum(p.numel() for p in segmenter.model.parameters()) / 1e6, 1),
        "encode_s": round(encode_s, 3),
        "fit_s": round(fit_s, 3),
        "find_s": round(find_s, 3),
        "fit_and_find_s": round(fit_s + find_s, 3),
        "guided_find_s": round(guided_s, 3),
        "peak_mib": round(peak / 2**20),
    }


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure each model and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vit_h", action="store_true", help="measure a ViT-H too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bfloat16", action="store_true", help="encode in bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    rows = []
    for name in ("toy", "vit_b", "vit_h")[: 3 if arguments.vit_h else 2]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(measure, name, arguments.device, arguments.bfloat16, arguments.threads).result()
        if not rows:
            print(f"{arguments.threads} threads on {arguments.device}, photo {SIZE[1]} x {SIZE[0]} px")
            print("".join(f"{key:>19}" for key in row))
        rows.append(row)
        print("".join(f"{value!s:>19}" for value in row.values()), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
