"""How much of the protocol is gone through."""

from dataclasses import dataclass

from persam_dreambooth.leakage.validation.plan import LEVELS


@dataclass(frozen=True)
class Preset:
    """How many pictures are made."""

    num_subjects: int
    """Drawn ones; of photos, all albums are used."""
    num_hosts: int
    """Pictures of each subject that leaks are planted in, at most."""
    levels: tuple[float, ...]


PRESETS = {
    "quick": Preset(num_subjects=6, num_hosts=6, levels=(0.1, 0.25, 0.5)),
    "full": Preset(num_subjects=12, num_hosts=10, levels=LEVELS),
}
