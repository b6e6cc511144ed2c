"""A recording to windows: parts without gaps, resampled to one rate, cut, each window with one label."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from dark_halo_scope.windows.recordings import Recording, RecordingError

Floats = NDArray[np.float64]
ON_LABEL_CHANGE = ("drop", "majority")
_CLOSE_S = 1e-6  # seconds since 1970 are good to some 1e-7 in a float


@dataclass(frozen=True)
class Cutting:
    """How recordings become windows.

    Attributes:
        sampling_rate_hz: Of the windows.
        window_size: Samples of a window.
        overlap: Fraction of a window that the next one shares; 0 for none.
        max_gap_s: Longest time between two samples that is bridged; no window reaches across a longer one.
        on_label_change: Of a window in which the label changes: "drop" it, or give it the label of the "majority" of
            its samples, of the first among equals.
    """

    sampling_rate_hz: float = 50.0
    window_size: int = 128
    overlap: float = 0.5
    max_gap_s: float = 0.1
    on_label_change: str = "drop"

    def __post_init__(self) -> None:
        if self.sampling_rate_hz <= 0 or self.window_size < 2 or self.max_gap_s <= 0:
            raise RecordingError(
                f"sampling_rate_hz={self.sampling_rate_hz:g} and max_gap_s={self.max_gap_s:g} must be positive, and "
                f"window_size={self.window_size} at least 2"
            )
        if not 0 <= self.overlap < 1:
            raise RecordingError(f"overlap={self.overlap:g} must lie in [0, 1); 0.5 shares half of each window")
        if self.on_label_change not in ON_LABEL_CHANGE:
            raise RecordingError(
                f"on_label_change={self.on_label_change!r} is not known: choose {' or '.join(ON_LABEL_CHANGE)}"
            )

    @property
    def step(self) -> int:
        """Samples from the start of a window to that of the next."""
        return max(1, round(self.window_size * (1 - self.overlap)))


@dataclass
class CutWindows:
    """The windows of a recording.

    Attributes:
        windows: (n, C, T).
        time: Their starts in seconds; (n,).
        label: Their labels; n.
        told: How many windows, samples or gaps were dealt with in which way.
    """

    windows: NDArray[np.float32]
    time: Floats
    label: list[str]
    told: Counter[str] = field(default_factory=Counter)


def cut(recording: Recording, how: Cutting) -> CutWindows:
    """Cut a recording; what is left out is counted."""
    told: Counter[str] = Counter()
    whole = np.isfinite(recording.values).all(axis=1)
    told["samples without a number in some channel"] = int(np.count_nonzero(~whole))
    time, values, label = recording.time[whole], recording.values[whole], recording.label[whole]
    edges = [0, *(np.flatnonzero(np.diff(time) > how.max_gap_s) + 1).tolist(), len(time)]
    told["gaps longer than max_gap_s"] = len(edges) - 2
    cuts = [_cut_part(time[a:b], values[a:b], label[a:b], how, told) for a, b in pairwise(edges)]
    return CutWindows(
        np.concatenate([windows for windows, _, _ in cuts]),
        np.concatenate([starts for _, starts, _ in cuts]),
        [name for _, _, names in cuts for name in names],
        told,
    )


def _cut_part(
    time: Floats, values: Floats, label: NDArray[np.object_], how: Cutting, told: Counter[str]
) -> tuple[NDArray[np.float32], Floats, list[str]]:
    """Windows (n, C, T), starts (n,) and labels of a part without gaps."""
    n_channels, size = values.shape[1], how.window_size
    grid, signal = resample(time, values, how.sampling_rate_hz)
    if len(grid) < size:
        told["parts shorter than a window"] += 1
        return np.empty((0, n_channels, size), np.float32), np.empty(0), []
    first = np.arange(0, len(grid) - size + 1, how.step)
    label_of = label[np.searchsorted(time, grid + _CLOSE_S, "right") - 1]  # the last one noted
    kept, names = [], []
    for start in first.tolist():
        name = _one_label(label_of[start : start + size], how, told)
        if name is not None:
            kept.append(start)
            names.append(name)
    pieces = np.lib.stride_tricks.sliding_window_view(signal, size, axis=0)[kept]  # (n, C, T)
    return pieces.astype(np.float32), grid[kept], names


def _one_label(labels: NDArray[np.object_], how: Cutting, told: Counter[str]) -> str | None:
    counts = Counter(labels.tolist())
    if None in counts:
        told["windows with samples without a label, left out"] += 1
        return None
    (name, _), *others = counts.most_common()
    if others and how.on_label_change == "drop":
        told["windows in which the label changes, left out"] += 1
        return None
    if others:
        told["windows in which the label changes, named by the majority"] += 1
    return name


def resample(time: Floats, values: Floats, rate_hz: float) -> tuple[Floats, Floats]:
    """A regular grid (m,) from the first sample to the last, and the values (m, C) on it.

    Between samples values are interpolated linearly. Where there are some for each point of the grid, that is done on a
    multiple of the grid which holds them all, and a low-pass keeps what the grid cannot hold from folding into it.
    """
    if len(time) < 2:
        return time, values
    n = int(np.floor((time[-1] - time[0] + _CLOSE_S) * rate_hz)) + 1
    grid = time[0] + np.arange(n) / rate_hz
    density = max(1, round(1 / np.median(np.diff(time)) / rate_hz))
    fine = time[0] + np.arange((n - 1) * density + 1) / (rate_hz * density)
    signal = np.stack([np.interp(fine, time, channel) for channel in values.T], axis=1)
    return grid, resample_poly(signal, 1, density, axis=0, padtype="line") if density > 1 else signal
