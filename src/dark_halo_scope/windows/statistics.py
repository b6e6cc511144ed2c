"""Mean and standard deviation of each channel, participant by participant, over the windows that may be looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.reader import read_windows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChannelStatistics:
    """Of G participants.

    Attributes:
        participants: Their `participant_key`; (G,).
        count: Samples of each channel; (G,).
        mean: (G, C).
        variance: (G, C).
    """

    participants: NDArray[np.int64]
    count: NDArray[np.int64]
    mean: Floats
    variance: Floats

    def pooled(self) -> "ChannelStatistics":
        """Of all samples together, under the key 0 (the law of total variance)."""
        weight = (self.count / self.count.sum())[:, None]
        mean = (weight * self.mean).sum(axis=0)
        variance = (weight * (self.variance + (self.mean - mean) ** 2)).sum(axis=0)
        return ChannelStatistics(np.zeros(1, np.int64), self.count.sum(keepdims=True), mean[None], variance[None])


def channel_statistics(index: WindowIndex, rows: NDArray[np.int64]) -> ChannelStatistics:
    """Statistics of the windows ``rows`` alone, which must not hold a window that is tested on."""
    participants = np.unique(index.participant[rows])
    means, variances, counts = [], [], []
    for participant in participants:  # one at a time: a study need not fit into memory
        windows = read_windows(index, rows[index.participant[rows] == participant]).astype(np.float64)
        means.append(windows.mean(axis=(0, 2)))
        variances.append(windows.var(axis=(0, 2)))
        counts.append(windows.shape[0] * windows.shape[2])
    shape = (len(participants), len(index.layout.channels))
    return ChannelStatistics(
        participants=index.participant_keys[participants],
        count=np.array(counts, np.int64),
        mean=np.reshape(means, shape),
        variance=np.reshape(variances, shape),
    )
