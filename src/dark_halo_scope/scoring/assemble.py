"""The finished parts of a job to one score file."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dark_halo_scope.evaluation.scores import score_table, write_scores
from dark_halo_scope.files import write_atomically
from dark_halo_scope.scoring.job import ScoringJob
from dark_halo_scope.scoring.parts import Part, Parts
from dark_halo_scope.scoring.probability import Calibration, mean_logit
from dark_halo_scope.stamps.contract import SPLITS
from dark_halo_scope.stamps.decoder import Fault
from dark_halo_scope.stamps.source import StampSource


def assemble(
    job: ScoringJob, parts: Parts, calibration: Calibration, out: Path, origin: dict[str, Any]
) -> dict[str, Any]:
    """Put the parts together in the order of the rows; write the score file and, beside it, what was not scored.

    Returns:
        The provenance that the score file carries; under ``counts`` what became of the rows.
    """
    read = [parts.read(number) for number in range(job.n_parts)]
    faults = [fault for part in read for fault in part.faults]
    quarantine_path(out).unlink(missing_ok=True)  # of scores that were moved away
    if faults:
        write_atomically(quarantine_path(out), _quarantine(job.source, faults))
    table = pa.concat_tables([_table(job.source, part, calibration) for part in read], promote_options="permissive")
    by_reason = Counter((fault.action, fault.reason) for fault in faults)
    counts = {
        "scored": table.num_rows,
        **{f"{action}: {reason}": n for (action, reason), n in sorted(by_reason.items())},
        "excluded: cutout_not_ok": job.source.known.n_unusable(job.split),
    }
    provenance = origin | job.identity | {"calibration": calibration.description(), "counts": counts}
    write_scores(out, table, provenance)
    return provenance


def quarantine_path(out: Path) -> Path:
    """Where it is written what was not scored, and why."""
    return out.with_name(f"{out.name}.quarantine.jsonl")


def _table(source: StampSource, part: Part, calibration: Calibration) -> pa.Table:
    """The scores of a part with everything that the data say of its stamps."""
    label, split = source.known.label, source.known.split
    metadata = source.metadata(part.rows)
    if len(part.logits) > 1:
        for k in reversed(range(len(part.logits))):
            metadata = metadata.add_column(0, f"logit_{k + 1}", pa.array(part.logits[k]))
    return score_table(
        part.rows,
        None if split is None else [SPLITS[k] for k in split[part.rows]],
        None if label is None else label[part.rows],
        mean_logit(part.logits),
        calibration.probability(part.logits),
        metadata,
    )


def _quarantine(source: StampSource, faults: list[Fault]) -> bytes:
    """One JSON object a faulty row: where it lies, what was wrong, and all that the data say of it."""
    faults = sorted(faults, key=lambda fault: fault.row)
    metadata = source.metadata(np.array([fault.row for fault in faults])).to_pylist()
    lines = [
        json.dumps(vars(fault) | source.locate(fault.row) | {"metadata": known}, default=str) + "\n"
        for fault, known in zip(faults, metadata, strict=True)
    ]
    return "".join(lines).encode()
