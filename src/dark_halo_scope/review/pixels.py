"""What decoding, normalisation and augmentation do to real stamps."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from dark_halo_scope.review.case import Stamps
from dark_halo_scope.stamps.codec import decode_stamp
from dark_halo_scope.stamps.contract import BANDS, STAMP_SHAPE, STAMP_SIZE
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.reader import stamp_reader
from dark_halo_scope.stamps.row_groups import RowGroups
from dark_halo_scope.transforms.draws import draw_keys
from dark_halo_scope.transforms.normalise import MAD_TO_SIGMA, annulus_pixels, median_and_mad

CORE_RADIUS_PX = 5.0
SKY_RADIUS_PX = 20.0
_TIMED_PASSES = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decoding:
    """Outcome of decoding some stamps twice: by this project and by ``np.load``.

    Attributes:
        n: Stamps.
        n_equal: Those with the same bits.
        stamps_per_s: On one core, the best of three passes.
        load_stamps_per_s: Of ``np.load``.
    """

    n: int
    n_equal: int
    stamps_per_s: float
    load_stamps_per_s: float


def compare_decoders(index: StampIndex, rows: NDArray[np.int64]) -> Decoding:
    """Decode the bytes of some rows of a raw dataset both ways; the rows must be usable."""
    groups = index.group_of(rows)
    open_groups = RowGroups(index, capacity=2)
    places = zip(groups.tolist(), (rows - index.group_starts[groups]).tolist(), strict=True)
    packed = [b"".join(open_groups.stamp_bytes(group, i)) for group, i in places]
    ours, theirs = (np.zeros((len(rows), *STAMP_SHAPE), np.float32) for _ in range(2))

    def decode() -> None:
        for stamp, out in zip(packed, ours, strict=True):
            decode_stamp(stamp, out)

    def load() -> None:
        for stamp, out in zip(packed, theirs, strict=True):
            with np.load(io.BytesIO(stamp), allow_pickle=False) as arrays:
                for band, name in enumerate(BANDS):
                    out[band] = arrays[f"image_{name}"]

    seconds = [min(_timed(work) for _ in range(_TIMED_PASSES)) for work in (decode, load)]
    equal = (ours.view(np.uint32) == theirs.view(np.uint32)).all(axis=(1, 2, 3))
    return Decoding(len(rows), int(equal.sum()), *(len(rows) / s for s in seconds))


def reading_rate(index: StampIndex, rows: NDArray[np.int64]) -> float:
    """Stamps/s that one thread reads and decodes, the best of three passes: the later ones find the files in memory."""
    reader = stamp_reader(index, open_row_groups=len(rows), max_nonfinite_fraction=0.0)
    images = np.empty((len(rows), *STAMP_SHAPE), np.float32)
    return len(rows) / min(_timed(lambda: reader.decode(rows, images)) for _ in range(_TIMED_PASSES))


@dataclass(frozen=True)
class Saturation:
    """What a normalisation leaves of the cores of hosts.

    Attributes:
        at_bound: Fraction of core pixels, all bands, that share the largest value there is: a bound.
        by_band: The same by band; (3,).
        colour_rank_correlation: Spearman's, over the hosts, of the g - z colour of the core before and after.
        n_hosts: With positive flux in both bands.
        finite: Whether all of the stamps came out finite.
        snr: Brightness of core pixels in sigma of the sky, all bands; (m,).
        value: What the normalisation makes of them; (m,).
    """

    at_bound: float
    by_band: tuple[float, ...]
    colour_rank_correlation: float
    n_hosts: int
    finite: bool
    snr: Floats
    value: Floats


@torch.inference_mode()
def core_saturation(stamps: Stamps, normalise: torch.nn.Module) -> Saturation:
    """Measure the pixels within `CORE_RADIUS_PX` of the centre, before and after."""
    raw = torch.from_numpy(stamps.images)
    normalised = normalise(raw)
    sky, mad = median_and_mad(raw.flatten(2)[..., annulus_pixels(SKY_RADIUS_PX, STAMP_SIZE)])
    core = _core_pixels()
    before = raw.flatten(2)[..., core] - sky[..., None]  # (n, 3, core)
    after = normalised.flatten(2)[..., core]
    bound = after == normalised.max()
    clipped = bound if int(bound.sum()) > 1 else torch.zeros_like(bound)  # a single largest value is no bound
    g, z = BANDS.index("g"), BANDS.index("z")
    flux = before.sum(dim=2)
    bright = (flux[:, g] > 0) & (flux[:, z] > 0)
    colour = (torch.log(flux[bright, g] / flux[bright, z])).numpy()
    left = (after[bright, g].mean(dim=1) - after[bright, z].mean(dim=1)).numpy()
    return Saturation(
        at_bound=float(clipped.float().mean()),
        by_band=tuple(clipped.float().mean(dim=(0, 2)).tolist()),
        colour_rank_correlation=float(np.nan_to_num(spearmanr(colour, left).statistic)),
        n_hosts=int(bright.sum()),
        finite=bool(torch.isfinite(normalised).all()),
        snr=(before / (MAD_TO_SIGMA * mad[..., None])).numpy().ravel().astype(np.float64),
        value=after.numpy().ravel().astype(np.float64),
    )


@dataclass(frozen=True)
class Augmentation:
    """What an augmentation changes that it must not.

    Attributes:
        same_pixels: Fraction of stamps whose pixel values are the same ones in other places.
        sky_shift: Largest change of a band's sky median, in units of its scatter.
        scatter_ratio: Largest change of a band's sky scatter, as a fraction of it.
        n_changed: Stamps that came out in another orientation than they went in.
    """

    same_pixels: float
    sky_shift: float
    scatter_ratio: float
    n_changed: int


@torch.inference_mode()
def augmented_sky(stamps: Stamps, normalise: torch.nn.Module, augment: torch.nn.Module, seed: int) -> Augmentation:
    """Augment normalised stamps as the first epoch would, and compare their skies."""
    images = normalise(torch.from_numpy(stamps.images))
    turned = augment(images, draw_keys(seed, 0, torch.from_numpy(stamps.rows)))
    annulus = annulus_pixels(SKY_RADIUS_PX, STAMP_SIZE)
    (sky, mad), (sky_after, mad_after) = (median_and_mad(x.flatten(2)[..., annulus]) for x in (images, turned))
    scatter = mad.clamp_min(torch.finfo(mad.dtype).tiny)
    same = (images.flatten(2).sort().values == turned.flatten(2).sort().values).all(dim=2).all(dim=1)
    return Augmentation(
        same_pixels=float(same.float().mean()),
        sky_shift=float(((sky_after - sky).abs() / scatter).max()),
        scatter_ratio=float(((mad_after - mad).abs() / scatter).max()),
        n_changed=int((images != turned).flatten(1).any(dim=1).sum()),
    )


def _core_pixels() -> Tensor:
    offset = torch.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
    return ((offset[:, None] ** 2 + offset**2).sqrt() < CORE_RADIUS_PX).flatten().nonzero().squeeze(1)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
