"""Stamps that show the same sky: equal pixels, or nearly equal signatures; found by sorting, not among all pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.audit.fingerprints import N_BITS, N_WORDS
from dark_halo_scope.audit.sample import Sample
from dark_halo_scope.stamps.index import StampIndex

# Of 224 bits. Measured on the simulated survey: unrelated stamps differ in 101 +- 9, those of 8,130 that share a word
# by chance in 52 at least. Turned, mirrored, rescaled or offset, one differs from itself in none and is always found;
# moved by 1 or 2 px, in 95 of 100 cases; with a twentieth of the sky noise added, in 90; with another arc, in 66.
MAX_DIFFERENT_BITS = N_BITS // 7
_NEIGHBOURS = 4  # compared with each stamp in the order of a word: buckets of 32 bits hold one or two by chance
_BITS = np.array([bin(n).count("1") for n in range(256)], np.uint8)

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of stamps of the same sky.

    Attributes:
        rows: Rows of both, the smaller first; (p, 2).
        different_bits: Bits by which their signatures differ; (p,).
        across_splits: Whether they lie in different splits; (p,).
        across_classes: Whether one is a lens and the other a control; (p,).
        exact: Whether their pixels are equal.
    """

    rows: Rows
    different_bits: NDArray[np.int64]
    across_splits: NDArray[np.bool_]
    across_classes: NDArray[np.bool_]
    exact: bool

    def gravest(self, n: int) -> list[int]:
        """Positions of the first ``n`` pairs, those across splits and then those across classes first."""
        harm = 2 * self.across_splits.astype(int) + self.across_classes
        return np.argsort(-harm, kind="stable")[:n].tolist()


def exact_pairs(index: StampIndex, sample: Sample) -> Pairs:
    """Good stamps with equal pixels; of k equal ones, each with the first and with the one before it."""
    good = np.flatnonzero(sample.good)
    order = good[np.argsort(sample.hashes[good], kind="stable")]
    hashes = sample.hashes[order]
    same_as_before = np.append(False, hashes[1:] == hashes[:-1])
    begin = np.maximum.accumulate(np.where(same_as_before, 0, np.arange(len(order))))
    later = np.flatnonzero(same_as_before)
    pairs = np.concatenate(
        [np.stack([order[begin[later]], order[later]], 1), np.stack([order[later - 1], order[later]], 1)]
    )
    return _described(index, sample, np.unique(pairs, axis=0), exact=True)


def near_pairs(index: StampIndex, sample: Sample) -> Pairs:
    """Good stamps whose signatures differ by `MAX_DIFFERENT_BITS` at most without having equal pixels.

    Pairs that have not one word in common are not found: see `fingerprints.signatures` for what is.
    """
    good = np.flatnonzero(sample.good)
    found = [np.empty((0, 2), np.int64)]
    for word in range(N_WORDS):
        order = good[np.argsort(sample.signatures[good, word], kind="stable")]
        key = sample.signatures[order, word]
        for lag in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            i = np.flatnonzero(key[lag:] == key[:-lag])
            one, other = order[i], order[i + lag]
            near = _different_bits(sample, one, other) <= MAX_DIFFERENT_BITS
            near &= sample.hashes[one] != sample.hashes[other]
            found.append(np.stack([np.minimum(one, other), np.maximum(one, other)], 1)[near])
    return _described(index, sample, np.unique(np.concatenate(found), axis=0), exact=False)


def _described(index: StampIndex, sample: Sample, positions: Rows, *, exact: bool) -> Pairs:
    rows = sample.rows[positions].reshape(-1, 2)
    split, label = index.split[rows], index.label[rows]
    return Pairs(
        rows,
        _different_bits(sample, positions[:, 0], positions[:, 1]),
        split[:, 0] != split[:, 1],
        label[:, 0] != label[:, 1],
        exact,
    )


def _different_bits(sample: Sample, one: Rows, other: Rows) -> Rows:
    different = sample.signatures[one] ^ sample.signatures[other]
    return _BITS[different.view(np.uint8)].sum(axis=1, dtype=np.int64)
