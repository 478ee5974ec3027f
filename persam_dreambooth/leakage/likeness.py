"""How much the drawn subject is like the photos', its surroundings left out.

The subject is cut out of picture and photos alike, and its cells are compared both ways:

    s(a, b) = 1/2 mean_i max_j <a_i, b_j> + 1/2 mean_j max_i <a_i, b_j>

which is the plain cosine where the features give one vector for a subject. The raw likeness of a picture is
its mean s to the reference photos. Raw numbers say nothing by themselves, so that they are put on a scale on
which 0 is what the base model draws for the class noun and 1 is a real photo of the subject:

    likeness = (raw - base) / (real - base)

References are held-out photos where there are enough; else the training photos, and "real" is then each photo
against the others (leave one out).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persam_dreambooth.leakage.banks import Mask, Pixels
from persam_dreambooth.leakage.features import Features
from persam_dreambooth.leakage.whitening import Space, whitened_space

MIN_HELD_OUT = 5
"""With fewer photos held out of training, these and the training photos are the references together."""
MIN_GAP = 2.0
"""Real photos must be this many standard errors nearer to each other than the base model's pictures are."""

Vectors = Float[np.ndarray, "n d"]


@dataclass(frozen=True, eq=False)
class References:
    """What drawn subjects are held against."""

    space: Space
    subjects: tuple[Float[np.ndarray, "n e"], ...]
    """The reference photos' subjects."""
    real: float
    """What real photos reach: the upper end of the scale."""

    def raw(self, vectors: Vectors) -> float:
        """Return the mean similarity of a drawn subject to the reference photos, -1 to 1."""
        own = self.space.directions(vectors)
        return float(np.mean([similarity(own, subject) for subject in self.subjects]))


def subject_vectors(features: Features, pixels: Pixels, mask: Mask) -> Vectors:
    """Return the vectors of a picture's subject, and of nothing else."""
    return features.subject(pixels, mask)


def references(
    features: Features,
    photos: Sequence[tuple[Pixels, Mask]],
    others: Sequence[Vectors],
    held_out: Sequence[tuple[Pixels, Mask]] = (),
) -> References:
    """Return the reference subjects, and what real photos reach.

    Args:
        features: what describes a subject.
        photos: pixels and mask of each training photo.
        others: subjects of the base model's pictures: together with the photos' they say in which directions
            subjects vary at all.
        held_out: pixels and mask of photos that were not trained on.
    """
    own = [subject_vectors(features, *photo) for photo in photos]
    space = whitened_space(np.concatenate([*own, *others]))
    trained = [space.directions(vectors) for vectors in own]
    unseen = [space.directions(subject_vectors(features, *photo)) for photo in held_out]
    if len(unseen) >= MIN_HELD_OUT:
        pairs = [(one, other) for one in trained for other in unseen]
        return References(space, tuple(unseen), _mean_similarity(pairs))
    known = [*trained, *unseen]
    pairs = [(one, other) for number, one in enumerate(known) for other in known[:number]]
    if not pairs:
        # A single photo has nothing to be compared with but itself, seen in a mirror.
        pixels, mask = photos[0]
        mirrored = subject_vectors(
            features, np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        )
        pairs = [(known[0], space.directions(mirrored))]
    return References(space, tuple(known), _mean_similarity(pairs))


def similarity(first: Float[np.ndarray, "n e"], second: Float[np.ndarray, "m e"]) -> float:
    """Return how alike two sets of unit vectors are, each vector with its best match: -1 to 1."""
    cosines = first @ second.T
    return float(cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2


def normalise(raw: float | None, base: float, real: float) -> float:
    """Return a likeness on the scale from the class noun (0) to real photos (1).

    Args:
        raw: of a picture; None where no subject was found in it: that counts as the base model's level.
        base: mean raw likeness of the base model's pictures, in which a subject was found.
        real: what real photos reach.
    """
    return 0.0 if raw is None else (raw - base) / (real - base)


def base_level(raws: Sequence[float], real: float) -> float | None:
    """Return the lower end of the scale, or None where these features cannot tell the subject from its class.

    Args:
        raws: raw likeness of the base model's pictures in which a subject was found.
        real: what real photos reach.
    """
    if not raws:
        return None
    level = float(np.mean(raws))
    error = float(np.std(raws)) / np.sqrt(len(raws))
    return level if real - level > max(MIN_GAP * error, 1e-6) else None


def _mean_similarity(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the mean similarity of pairs of subjects."""
    return float(np.mean([similarity(one, other) for one, other in pairs]))
