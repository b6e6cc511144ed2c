"""What became of a trial: the only thing that travels from the trial to its worker."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hydra.core.utils import JobReturn, JobStatus
from optuna import TrialPruned

State = Literal["complete", "pruned", "diverged", "failed", "refused"]


@dataclass(frozen=True)
class Outcome:
    """A trial's end. Plain values, so that any launcher can send it.

    A refused trial has not been begun: no money is left for it.
    """

    state: State
    values: list[float] = field(default_factory=list)  # of the objectives, where the trial is complete
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON, and as the return value of a job."""
        return asdict(self)


def outcome_of(job: JobReturn) -> Outcome:
    """Read what a launcher returned: an outcome, plain numbers, or an exception."""
    returned = job._return_value  # the property of that name raises what the job raised, and prints
    if isinstance(returned, TrialPruned):
        return Outcome("pruned")
    if job.status != JobStatus.COMPLETED:
        return Outcome("failed", error=f"{type(returned).__name__}: {returned}")
    if isinstance(returned, Mapping):
        outcome = Outcome(**returned)
    else:
        values = returned if isinstance(returned, Sequence) else [returned]
        outcome = Outcome("complete", [float(value) for value in values])
    if not all(math.isfinite(value) for value in outcome.values):
        return Outcome("diverged", error=f"the job returned {outcome.values}")
    return outcome
