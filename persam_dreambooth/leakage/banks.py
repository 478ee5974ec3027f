"""The photos' background, patch by patch, and as many patches of each of K other places: what is compared.

Every patch is a cell of `features`, whitened on the decoys, at unit length; mirrored copies are included. The
training bank and the decoy banks are samples of one size, so that each is as likely to hold the nearest
neighbour of something that has to do with none of them: chance is 1 / (K + 1).

Photos should carry the same marks of a VAE as generated pictures: whoever has the base model sends them
through its VAE and back before they come here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from tqdm import tqdm

from persam_dreambooth.errors import UserError
from persam_dreambooth.leakage.features import Features, background_cells
from persam_dreambooth.leakage.whitening import Space, nearest, nearest_in_each, whitened_space

NUM_BANKS = 19
"""Decoy banks: chance is then 1 in 20."""
MAX_BANK_SIZE = 400
"""Cells a bank at most."""
SAME_SCENE = 3
"""A decoy that is attributed to the photos this many times as often as by chance may show their very
scene."""
_UNUSUAL = 0.99
"""And it is nearer to them than this share of decoys is to places that are not its own."""

Pixels = UInt8[np.ndarray, "H W 3"]
Mask = Bool[np.ndarray, "H W"]


@dataclass(frozen=True, eq=False)
class Banks:
    """The photos' background and the decoys', as unit vectors in one whitened space."""

    space: Space
    training: Float[np.ndarray, "n e"]
    """As many of `patches` as each decoy bank holds."""
    decoys: Float[np.ndarray, "k n e"]
    patches: Float[np.ndarray, "m e"]
    """All background cells of all photos, mirrored copies included: where a leaked patch is looked up."""
    origins: Int[np.ndarray, "m 4"]
    """Photo, row and column of each, in the photo as it is, and whether it was mirrored (0 or 1)."""
    own_attribution: tuple[float | None, ...]
    """For each photo the share of its background that is found in the other photos rather than in decoys: how
    leak-prone the album is. None where there is no other photo, or no background."""
    photo_grids: tuple[tuple[int, int], ...]
    """Rows and columns of each photo's cells."""
    dropped: tuple[int, ...]
    """Decoys that were left out because they show the photos' own scene."""
    same_scene_kept: tuple[int, ...] = ()
    """Decoys that show it and stay, because without them there are fewer than banks: they hide leakage."""

    @property
    def chance(self) -> float:
        """Share of cells that the photos' bank wins where nothing leaks."""
        return 1 / (len(self.decoys) + 1)


@dataclass(frozen=True, eq=False)
class _Side:
    """The background cells of one picture and of its mirror image."""

    vectors: Float[np.ndarray, "n d"]
    places: Int[np.ndarray, "n 3"]
    """Row, column and whether mirrored."""
    grid: tuple[int, int]


def build_banks(
    photos: Iterable[tuple[Pixels, Mask]],
    decoys: Sequence[Pixels | tuple[Pixels, Mask | None]],
    features: Features,
    *,
    num_banks: int = NUM_BANKS,
    seed: int = 0,
    drop_same_scene: bool = True,
) -> Banks:
    """Return the bank of the photos' backgrounds and the decoys', all of one size.

    Args:
        photos: pixels and subject mask of each training photo.
        decoys: pictures of other places, each alone where it is without any subject, or with the mask of what
            to leave out. Best from the base model. Neighbours in the list go to the same bank: put pictures
            of one place next to each other, as the photos too show one place.
        features: what describes a cell.
        num_banks: number of decoy banks K.
        seed: decides which cells are kept where a bank has too many.
        drop_same_scene: leave out decoys that show the photos' own scene (see `same_scene`).

    Raises:
        UserError: there are fewer decoys than banks, they are all of one colour, or the subject fills the
            photos.
    """
    _check_count(len(decoys), num_banks)
    photos, told = list(photos), [decoy if isinstance(decoy, tuple) else (decoy, None) for decoy in decoys]
    with tqdm(total=len(photos) + len(told), desc="read places", unit="picture", disable=None) as bar:
        own = [_both_sides(features, *photo, bar) for photo in photos]
        others = [_both_sides(features, *decoy, bar) for decoy in told]
    _check_some_background(any(len(side.vectors) for side in own))
    kept = [number for number, side in enumerate(others) if len(side.vectors)]
    _check_count(len(kept), num_banks)
    _check_some_difference([others[number].vectors for number in kept])
    banks = _assembled(own, [others[number] for number in kept], num_banks, seed)
    if not drop_same_scene:
        return banks
    shows_scene = same_scene(banks, [others[number].vectors for number in kept])
    scene = tuple(number for number, same in zip(kept, shows_scene, strict=True) if same)
    left = [number for number in kept if number not in scene]
    if not scene:
        return banks
    if len(left) < num_banks:
        return replace(banks, same_scene_kept=scene)
    return replace(_assembled(own, [others[number] for number in left], num_banks, seed), dropped=scene)


def own_attribution(
    photos: Iterable[tuple[Pixels, Mask]],
    decoys: Sequence[Pixels | tuple[Pixels, Mask | None]],
    features: Features,
    *,
    num_banks: int = NUM_BANKS,
    seed: int = 0,
) -> tuple[float | None, ...]:
    """Return how leak-prone each photo is: see `Banks.own_attribution`; arguments as for `build_banks`."""
    return build_banks(photos, decoys, features, num_banks=num_banks, seed=seed).own_attribution


def check_photos(photos: Iterable[tuple[Pixels, Mask]]) -> None:
    """Raise UserError where no photo shows any background; costs next to nothing.

    Args:
        photos: pixels and subject mask of each training photo.
    """
    _check_some_background(any(background_cells(mask, pixels.shape[:2]).any() for pixels, mask in photos))


def _check_count(count: int, num_banks: int) -> None:
    """Raise UserError unless each bank gets at least one decoy."""
    if count < num_banks:
        raise UserError(
            f"decoys: {count} pictures; {num_banks} banks need at least one each. "
            "Generate more pictures of other places, or ask for fewer banks."
        )


def _check_some_difference(decoys: Sequence[Float[np.ndarray, "n d"]]) -> None:
    """Raise UserError where nothing tells one decoy from another, nor one place in it from the next."""
    first = decoys[0][0]
    if all((vectors == first).all() for vectors in decoys):
        raise UserError(
            f"decoys: {len(decoys)} pictures of one colour; pictures of different places are needed. "
            "Look at them, and give others."
        )


def _check_some_background(there_is: bool) -> None:
    """Raise UserError unless there is some."""
    if not there_is:
        raise UserError(
            "photos: the subject fills every photo; leakage can only be measured where some background is "
            "seen. Add a photo with more around the subject, or check the masks."
        )


def _both_sides(features: Features, pixels: Pixels, mask: Mask | None, bar: tqdm) -> _Side:
    """Return a picture's background cells, and those of its mirror image at the places of the picture."""
    vectors, places = [], []
    for mirrored in (0, 1):
        step = -1 if mirrored else 1
        side = np.ascontiguousarray(pixels[:, ::step])
        cells = features.cells(side, None if mask is None else np.ascontiguousarray(mask[:, ::step]))
        grid = cells.is_background.shape
        rows, columns = np.nonzero(cells.is_background)
        vectors.append(cells.vectors[rows, columns])
        if mirrored:
            columns = grid[1] - 1 - columns
        places.append(np.stack([rows, columns, np.full_like(rows, mirrored)], axis=1))
    bar.update()
    return _Side(np.concatenate(vectors), np.concatenate(places), grid)


def _assembled(own: Sequence[_Side], others: Sequence[_Side], num_banks: int, seed: int) -> Banks:
    """Return banks of one size from the cells of photos and decoys."""
    groups = np.array_split(np.arange(len(others)), num_banks)
    banks = [np.concatenate([others[number].vectors for number in group]) for group in groups]
    space = whitened_space(np.concatenate(banks))
    patches = space.directions(np.concatenate([side.vectors for side in own]))
    origins = np.concatenate([np.insert(side.places, 0, number, axis=1) for number, side in enumerate(own)])
    size = min(MAX_BANK_SIZE, *(len(bank) for bank in (patches, *banks)))
    rng = np.random.default_rng(seed)
    training = patches[rng.permutation(len(patches))[:size]]
    decoys = np.stack([space.directions(bank[rng.permutation(len(bank))[:size]]) for bank in banks])
    return Banks(
        space=space,
        training=training,
        decoys=decoys,
        patches=patches,
        origins=origins,
        own_attribution=tuple(
            _left_out(number, patches, origins, decoys, seed) for number in range(len(own))
        ),
        photo_grids=tuple(side.grid for side in own),
        dropped=(),
    )


def _left_out(
    photo: int,
    patches: Float[np.ndarray, "m e"],
    origins: Int[np.ndarray, "m 4"],
    decoys: Float[np.ndarray, "k n e"],
    seed: int,
) -> float | None:
    """Return the share of a photo's background whose nearest neighbour is in the other photos."""
    own = patches[(origins[:, 0] == photo) & (origins[:, 3] == 0)]
    other = np.flatnonzero(origins[:, 0] != photo)
    if not len(own) or not len(other):
        return None
    size = min(len(other), decoys.shape[1])
    others = patches[other[np.random.default_rng(seed).permutation(len(other))[:size]]]
    # The decoys are in random order already.
    rivals = nearest_in_each(own, decoys[:, :size]).max(axis=0)
    return float((nearest(own, others)[0] > rivals).mean())


def same_scene(banks: Banks, vectors: Sequence[Float[np.ndarray, "n d"]]) -> Bool[np.ndarray, " decoys"]:
    """Return which decoys show the photos' own scene: they would hide its leakage.

    A decoy's cells are looked up in the training bank and in the decoy banks but its own. It is the photos'
    scene where the training bank wins more than SAME_SCENE times as many of them as by chance, and its mean
    largest cosine there is above 99 % of those that decoys reach in banks of other places, and nearer than
    that to what the photos reach in one another. The second half matters: cells of one picture are alike, so
    that some bank always wins many times its chance, and leaving out whatever happens to be nearest to the
    photos would make room around them, in which they then win more than chance.

    Args:
        banks: built with these decoys.
        vectors: the cells of each decoy, in the order in which the banks were built.
    """
    groups = np.array_split(np.arange(len(vectors)), len(banks.decoys))
    if len(groups) == 1:
        # No other place is left to say what is usual.
        return np.zeros(len(vectors), dtype=bool)
    won, alike, usual = [], [], []
    for own, group in enumerate(groups):
        others = np.delete(banks.decoys, own, axis=0)
        for number in group:
            directions = banks.space.directions(vectors[number])
            rivals = nearest_in_each(directions, others)
            training = nearest(directions, banks.training)[0]
            # Its own bank does not take part: chance is one in K.
            won.append((training > rivals.max(axis=0)).mean() > SAME_SCENE / len(groups))
            alike.append(training.mean())
            usual.append(rivals.mean(axis=1))
    strangers = float(np.quantile(np.concatenate(usual), _UNUSUAL))
    threshold = max(strangers, (strangers + _own_alikeness(banks, strangers)) / 2)
    return np.array(won) & (np.array(alike) > threshold)


def _own_alikeness(banks: Banks, without: float) -> float:
    """Return the median photo's mean largest cosine in the other photos; `without` where there are none."""
    found = []
    for photo in np.unique(banks.origins[:, 0]):
        own = banks.origins[:, 0] == photo
        if not own.all():
            found.append(nearest(banks.patches[own], banks.patches[~own])[0].mean())
    return float(np.median(found)) if found else without
