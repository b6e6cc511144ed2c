"""One process's share of the parts, scored at the full speed of the stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from dark_halo_scope.scoring.ensemble import Ensemble, max_nonfinite_fraction
from dark_halo_scope.scoring.job import ScoringError, ScoringJob
from dark_halo_scope.scoring.parts import Part, Parts
from dark_halo_scope.stamps.read_ahead import ReadBatch, read_ahead

_PREFETCH_BATCHES = 2

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Share:
    """What one process does.

    Attributes:
        parts: Numbers of the parts to make, ascending.
        device: Where to compute, such as ``cuda:1``.
        loader_threads: Threads that read stamps.
    """

    parts: Sequence[int]
    device: str
    loader_threads: int


def score_parts(job: ScoringJob, folder: Parts, share: Share, advance: Advance) -> None:
    """Make the parts of a share one after the other; one stream reads ahead across all of them.

    Raises:
        ScoringError: When a network gives a logit that is not finite.
    """
    device = torch.device(share.device)
    ensemble = Ensemble(
        job.checkpoints, tta=job.tta == "d4", precision=job.precision, device=device, compiled=job.compiled
    )
    batches = {part: list(job.batches(part)) for part in share.parts}
    reader = job.source.reader((_PREFETCH_BATCHES + 1) * job.batch_size, max_nonfinite_fraction(job.checkpoints))
    stream = read_ahead(
        reader,
        chain.from_iterable(batches.values()),
        num_threads=share.loader_threads,
        prefetch_batches=_PREFETCH_BATCHES,
        pin_memory=device.type == "cuda",
    )
    for part in share.parts:
        read = []
        logits = []
        for rows in batches[part]:
            batch = next(stream)
            read.append(batch)
            logits.append(ensemble.logits(batch.fields))
            advance(len(rows))
        folder.write(part, _finished(read, logits))


def _finished(read: list[ReadBatch], logits: list[torch.Tensor]) -> Part:
    """Bring the batches of a part together; the device is waited for here only."""
    together = torch.cat(logits, dim=1).float().cpu().numpy()
    rows = torch.cat([batch.fields["row"] for batch in read]).numpy()
    bad = rows[~np.isfinite(together).all(axis=0)]
    if len(bad):
        raise ScoringError(
            f"the logits of {len(bad)} stamps are not finite (first: row {bad[0]}): score with --precision 32-true"
        )
    return Part(rows, together, [fault for batch in read for fault in batch.faults])
