import pytest
from hydra.core.utils import JobReturn, JobStatus
from optuna import TrialPruned

from dark_halo_scope.search.outcome import Outcome, outcome_of


def job(returned: object, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    return JobReturn(status=status, _return_value=returned)


@pytest.mark.parametrize(
    ("returned", "outcome"),
    [
        (job(0.5), Outcome("complete", [0.5])),
        (job([0.5, 2]), Outcome("complete", [0.5, 2.0])),
        (job({"state": "pruned", "values": [], "error": ""}), Outcome("pruned")),
        (job(TrialPruned(), JobStatus.FAILED), Outcome("pruned")),
        (job(KeyError("x"), JobStatus.FAILED), Outcome("failed", error="KeyError: 'x'")),
        (job(float("nan")), Outcome("diverged", error="the job returned [nan]")),
        (
            job({"state": "complete", "values": [0.5, float("inf")]}),
            Outcome("diverged", error="the job returned [0.5, inf]"),
        ),
    ],
)
def test_what_a_job_returns_says_what_became_of_its_trial(returned: JobReturn, outcome: Outcome):
    assert outcome_of(returned) == outcome
