"""E. Distribution: ranks, mixed precision, and what speed is left."""

from collections.abc import Iterator

import numpy as np

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS
from dark_halo_scope.review import scoring, sharding
from dark_halo_scope.review.answers import Check
from dark_halo_scope.review.case import Case
from dark_halo_scope.stamps.plan import PlanError
from dark_halo_scope.stamps.stream import StreamOptions

_RANKS_ALIKE = 0.999  # rank correlation of the logits
_GRADIENTS_ALIKE = 0.9  # cosine
_WAITING = 0.1  # of the training time


def ranks(case: Case) -> Iterator[Check]:
    """The plan of an epoch and of both evaluations, for each number of ranks, on the row groups that are there."""
    data = case.config["data"]
    for world in sharding.WORLDS:
        name = f"{world} rank{'s' if world > 1 else ''}"
        try:
            found = sharding.share_out(
                case.index,
                world,
                batch_size=data["batch_size"],
                eval_batch_size=data["eval_batch_size"],
                seed=data["seed"],
                lanes=data.get("lanes", StreamOptions.lanes),
            )
        except PlanError as error:
            yield Check(
                name,
                CONCERN,
                str(error),
                source="config.yaml",
                remedy="choose another batch size for so many ranks",
                command=case.again(f"data.batch_size={world * max(1, data['batch_size'] // world)}"),
            )
            continue
        yield Check(
            name,
            FAIL if found.breaches else PASS,
            "; ".join(found.breaches)
            if found.breaches
            else f"{found.train_steps} steps on every rank, no train stamp twice ({found.compared_steps} steps "
            "compared, "
            f"{found.left_over} stamps left for another epoch); each of the {found.evaluated} validation and "
            "test stamps once",
            value=found.train_steps,
            remedy="do not train on several ranks with these files: report this",
        )


def mixed_precision(case: Case) -> Iterator[Check]:
    """A step in the precision of the run beside one in float32."""
    if case.precision not in scoring.AUTOCAST:
        yield Check(
            "Precision",
            PASS,
            f"the run trained and scored in {case.precision}: nothing is rounded",
            source="provenance.json",
        )
        return
    stamps = case.few_stamps
    found = scoring.compare_precision(case.task, stamps, case.precision)
    alike = found.rank_correlation >= _RANKS_ALIKE
    yield Check(
        "Logits",
        FAIL if not found.finite else PASS if alike else CONCERN,
        f"{case.precision} moves the logits of {found.n} stamps by {found.typical:.3f} (median) and "
        f"{found.largest:.3f} at "
        f"most; rank correlation with float32 {found.rank_correlation:.5f}",
        value=found.largest,
        remedy="score in float32: the last per cents of the ROC are decided by such differences",
        command=f"halo score {case.run}/checkpoints/best.ckpt {case.data_root} --precision 32-true",
    )
    similar = found.gradient_cosine >= _GRADIENTS_ALIKE
    yield Check(
        "Gradient",
        PASS if similar else CONCERN,
        f"the gradient of a step on these stamps has a cosine of {found.gradient_cosine:.4f} with that in float32",
        value=found.gradient_cosine,
        remedy="train a while in float32 and compare",
        command=case.again("hardware.precision=32-true"),
    )


def speed(case: Case) -> Iterator[Check]:
    """What training waited for."""
    if "throughput/data_wait_fraction" not in case.history:
        yield Check.missing("Waiting for data", "the run did not measure it", case.again("callbacks=default"))
        return
    waits, rates = (
        np.array([value for *_, value in case.history[f"throughput/{name}"]["values"]])
        for name in ("data_wait_fraction", "stamps_per_s")
    )
    waiting = waits.max() > _WAITING
    yield Check(
        "Waiting for data",
        CONCERN if waiting else PASS,
        f"{rates.max():.0f} stamps/s on {case.provenance['hardware']}; {waits.max():.1%} of the time, in the "
        "worst epoch, "
        "went to waiting for the next batch",
        value=float(waits.max()),
        source="history.json",
        remedy="a training store reads many times faster",
        command=f"halo prepare {case.data_root} STORE; {case.again('data.root=STORE')}",
    )
    full = case.precision == "32-true"
    yield Check(
        "Precision",
        CONCERN if full else PASS,
        f"trained in {case.precision}" + (": mixed precision is faster where the machine has it" if full else ""),
        source="provenance.json",
        remedy="let the machine choose",
        command=case.again("hardware.precision=auto"),
    )
    yield Check.missing(
        "Where a step goes", "the parts of a step were not profiled", case.again("debug=profiler", "run_name=profile")
    )
