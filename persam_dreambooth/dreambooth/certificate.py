"""What a comparison of two trainings found, in words and as values: the certificate."""

from dataclasses import dataclass

from persam_dreambooth.diffusion.background_influence import Influence
from persam_dreambooth.diffusion.background_reach import Reach
from persam_dreambooth.dreambooth.background_watch import influence_text

_GIVEN = "the masks, the captions, the settings and the class pictures, which are the same in both trainings"
_NOT_COVERED = (
    "how the masks were found (by looking at the background too)",
    "the outline of the masks, and where they are in the picture",
    "light, shadow and reflections of the background on the subject, inside the mask",
    "background that a mask covers by mistake",
    "what captions and prompts say",
    "the look of what replaces the background",
    "other numbers of steps, and machines on which arithmetic is not repeatable",
)
_DIFFERENCES = {
    "latents_inside": "latents of cells that are all subject differ by",
    "gradient": "the first gradient differs by",
    "update": "what training did to the weights differs by",
}


@dataclass(frozen=True, eq=False)
class Certificate:
    """The outcome of a comparison."""

    background: str
    """What --background was."""
    is_expected: bool
    """Whether this kind of background should keep all influence out."""
    equal: dict[str, bool]
    """Of each thing compared whether it was the same, bit by bit, in both trainings."""
    difference: dict[str, float | None]
    """How far the two are apart, as shares of the first's norm."""
    reach: Reach
    """How far the background reaches into the first step."""
    influence: Influence
    """How much the update changes where the background is another place."""
    is_repeatable: bool
    """Whether training twice on the same photos gave the same bits."""
    has_moved: bool
    """Whether training changed any weight."""
    record: dict[str, object]
    """Everything else that goes into the file."""

    @property
    def holds(self) -> bool:
        """Whether the background had no influence."""
        return all(self.equal.values()) and self.has_moved and self.reach.is_none and self.influence.mean == 0

    @property
    def is_as_it_should_be(self) -> bool:
        """Whether nothing contradicts what the documentation promises."""
        return self.holds if self.is_expected else self.is_repeatable

    def as_json(self) -> dict[str, object]:
        """Return the certificate as values that JSON holds."""
        return {
            "background_has_no_influence": self.holds,
            "promised": self.is_expected,
            "as_it_should_be": self.is_as_it_should_be,
            "text": self.text(),
            "equal": self.equal,
            "difference": self.difference,
            "nan_canary": "pass" if self._canary() == "reached nothing" else "fail",
            "nan_in_every_background_pixel": self._canary(),
            "input_share": self.reach.input_share,
            "background_influence": self.influence.mean,
            "influence_by_timestep": self.influence.by_timestep,
            "repeatable": self.is_repeatable,
            "weights_moved": self.has_moved,
            "given": _GIVEN,
            "not_covered": list(_NOT_COVERED),
            **self.record,
        }

    def text(self) -> str:
        """Return the outcome in words, one line a fact."""
        lines = [f"--background {self.background}: {self._verdict()}"]
        lines += [f"  {name.replace('_', ' ')}: {_same(same)}" for name, same in self.equal.items()]
        if not all(self.equal.values()):
            lines += [f"  {_DIFFERENCES[name]}: {_share(value)}" for name, value in self.difference.items()]
            lines += [f"  the same photos again: {_same(self.is_repeatable)}"]
        influence = influence_text(self.influence).rstrip(".")
        lines += [
            f"  NaN in every background pixel: {self._canary()}",
            f"  of the loss's slope by pixels, on background: {_exactly(self.reach.input_share)}",
            f"  {influence[0].lower()}{influence[1:]}",
        ]
        return "\n".join([*lines, f"given {_GIVEN}"])

    def _canary(self) -> str:
        """Return in words where NaN arrived."""
        if not self.reach.loss_is_number:
            return "reached the loss"
        return "reached nothing" if self.reach.gradient_is_number else "reached the gradient"

    def _verdict(self) -> str:
        """Return the outcome in one sentence."""
        if self.holds:
            return "the background had no influence at all, bit by bit"
        if not self.has_moved:
            return "the weights did not move, so nothing is shown; more steps or a larger rate are needed"
        if not self.is_repeatable:
            return "training is not repeatable on this machine, so nothing is shown"
        return "the background had influence" + (", which it must not" if self.is_expected else "")


def _same(is_same: bool) -> str:
    """Return a comparison's outcome as a word."""
    return "equal" if is_same else "different"


def _share(value: float | None) -> str:
    """Return a relative distance in words."""
    return "(no such cell)" if value is None else f"{value:.1%}"


def _exactly(value: float) -> str:
    """Return a share in words that tell nothing from almost nothing."""
    return f"{value:.1%}" if value else "0, to the bit"
