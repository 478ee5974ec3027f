"""The judge of toy pictures: which subject, which place, and which traits of the individual a picture shows.

It is trained on renderings (toyworld/training/classifier.py) and only ever used to measure.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from persam_dreambooth.toyworld import backgrounds, subjects
from persam_dreambooth.toyworld.subjects.traits import TRAITS

FOLDER = Path(__file__).parent / "models" / "classifier"
SUBJECT_CLASSES = (*subjects.SUBJECTS, "nothing")
HEADS = {"subject": SUBJECT_CLASSES, "background": backgrounds.BACKGROUNDS, **TRAITS}
"""What is told apart, and the names of the classes of each head; a trait's head is only meant for pictures
with a subject."""
INPUT_SIZE = 64


class Classifier(nn.Module):
    """A small convolutional network with one linear head for each entry of HEADS."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        """An untrained network."""
        super().__init__()
        blocks: list[nn.Module] = []
        for below, width in zip((3, *widths), widths, strict=False):
            blocks += [
                nn.Conv2d(below, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            blocks += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.trunk = nn.Sequential(*blocks)
        features = 2 * widths[-1]
        self.heads = nn.ModuleDict(
            {name: nn.Linear(features, len(classes)) for name, classes in HEADS.items()}
        )

    def forward(self, pixel_values: Float[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """Logits [b classes] of each head.

        Args:
            pixel_values: Pictures of INPUT_SIZE in [-1, 1].
        """
        grid = self.trunk(pixel_values)
        features = torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], 1)
        return {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True)
class Judgement:
    """What the classifier sees in n pictures: probabilities [n classes] by head, in HEADS' order."""

    probabilities: dict[str, np.ndarray]

    def names(self, head: str) -> list[str]:
        """The likeliest class of each picture."""
        return [HEADS[head][k] for k in self.probabilities[head].argmax(1)]

    def of(self, head: str, name: str) -> np.ndarray:
        """The probability of one class in each picture, [n]."""
        return self.probabilities[head][:, HEADS[head].index(name)]


@torch.no_grad()
def judge(classifier: Classifier, pixels: UInt8[np.ndarray, "n H W 3"], batch_size: int = 64) -> Judgement:
    """What `classifier` sees in pictures of any size; they are averaged to INPUT_SIZE."""
    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if values.shape[-1] != INPUT_SIZE:
        values = interpolate(values, (INPUT_SIZE, INPUT_SIZE), mode="area")
    logits = [classifier(values[start : start + batch_size]) for start in range(0, len(values), batch_size)]
    return Judgement({name: torch.cat([part[name] for part in logits]).softmax(1).numpy() for name in HEADS})


def load_classifier(folder: Path = FOLDER) -> Classifier:
    """The trained judge, in evaluation mode."""
    classifier = Classifier()
    weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    # The file leaves out the integer counters of batch normalisation, which only training reads.
    counters = {
        name: value for name, value in classifier.state_dict().items() if not value.is_floating_point()
    }
    classifier.load_state_dict({**weights, **counters})
    return classifier.eval()
