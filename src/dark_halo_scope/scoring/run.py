"""A scoring job from its first stamp, or from where it was interrupted, to its score file."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dark_halo_scope.callbacks.code_version import library_versions
from dark_halo_scope.evaluation.scores import read_scores
from dark_halo_scope.hardware import Hardware
from dark_halo_scope.jobs import stamps_bar
from dark_halo_scope.scoring.assemble import assemble
from dark_halo_scope.scoring.job import ScoringError, ScoringJob
from dark_halo_scope.scoring.parts import Parts
from dark_halo_scope.scoring.probability import Calibration
from dark_halo_scope.scoring.processes import score_in_processes
from dark_halo_scope.scoring.worker import Share, score_parts


@dataclass(frozen=True)
class Scored:
    """What came of a job.

    Attributes:
        provenance: What the score file says of itself.
        stamps_per_s: Rate of the stamps scored now; None where nothing was left to do.
    """

    provenance: dict[str, Any]
    stamps_per_s: float | None


def score(
    job: ScoringJob, machine: Hardware, out: Path, *, calibrate_on: Path | None = None, progress: bool = True
) -> Scored:
    """Score what is not scored yet, and write the score file.

    Raises:
        ScoringError: When ``out`` or its unfinished parts are of another job, or a process dies.
        ContractError: When the data cannot be read.
    """
    calibration = Calibration.of(job, calibrate_on)
    parts = Parts(out)
    if not out.exists():
        with parts.held():
            if not out.exists():  # by another process, for which this one has waited
                parts.claim(job.identity)
                rate = _score_missing(job, parts, machine, progress)
                provenance = assemble(job, parts, calibration, out, _origin(job, machine))
                parts.remove()
                return Scored(provenance, rate)
    return Scored(_finished(job.identity | {"calibration": calibration.description()}, out), None)


def _score_missing(job: ScoringJob, parts: Parts, machine: Hardware, progress: bool) -> float | None:
    """Make the parts that are not there yet; give the rate in stamps/s, if there were any."""
    shared = shares(parts.missing(job.n_parts), machine)
    to_score = sum(len(rows) for share in shared for part in share.parts for rows in job.batches(part))
    started = time.perf_counter()
    with stamps_bar("scoring", len(job.rows), show=progress) as advance:
        advance(len(job.rows) - to_score)
        if len(shared) == 1:
            score_parts(job, parts, shared[0], advance)
        elif shared:
            score_in_processes(job, parts, shared, advance)
    return to_score / (time.perf_counter() - started) if shared else None


def _origin(job: ScoringJob, machine: Hardware) -> dict[str, Any]:
    """What the score file says of where it was made, beyond what its numbers follow from."""
    return {
        "checkpoints": [str(path) for path in job.checkpoints],
        "data_root": job.data,
        "device_name": machine.device_name,
        "versions": library_versions(),
    }


def shares(missing: list[int], machine: Hardware) -> list[Share]:
    """Neighbouring parts to each process, so that it reads its own part of the files only; none for nothing."""
    n = min(machine.devices, len(missing))
    edges = [len(missing) * k // n for k in range(n + 1)] if n else [0]
    devices = [f"cuda:{k}" if machine.accelerator == "gpu" else "cpu" for k in range(n)]
    return [Share(missing[edges[k] : edges[k + 1]], devices[k], machine.loader_threads) for k in range(n)]


def _finished(expected: dict[str, Any], out: Path) -> dict[str, Any]:
    """The provenance of a score file that is there already, if it is the one that is wanted."""
    _, provenance = read_scores(out)
    if changed := [name for name, value in expected.items() if provenance.get(name) != value]:
        raise ScoringError(
            f"{out} is there already and holds other scores (another {', '.join(changed)}); "
            "move it away, or give another --out"
        )
    return provenance
