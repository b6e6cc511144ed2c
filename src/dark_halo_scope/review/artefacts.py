"""G. Code: do the files of the run agree with each other, with the checkpoint and with the data?"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS
from dark_halo_scope.evaluation.metrics import binary_metrics
from dark_halo_scope.files import sha256
from dark_halo_scope.review import scoring
from dark_halo_scope.review.answers import Check
from dark_halo_scope.review.case import Case

_KEYS = {
    "weights": "state_dict",
    "optimiser": "optimizer_states",
    "schedule": "lr_schedulers",
    "random states": "rng",
    "data position": "data_position",
    "resolved config": "config",
    "epoch": "epoch",
    "step": "global_step",
    "best metric and its name": "monitor",
    "code version": "code_version",
    "data fingerprint": "data_fingerprint",
    "preprocessing": "preprocessing",
    "calibrator": "calibrator",
    "thresholds": "thresholds",
}
_SAME_LOGIT = {"32-true": 1e-3, "bf16-mixed": 0.1, "16-mixed": 0.05}  # kernels differ between machines


def consistency(case: Case) -> Iterator[Check]:
    """Numbers computed again from the files that they are said to come from."""
    kept = case.metrics["scores"]["sha256"]
    same = sha256(case.run / "scores.parquet") == kept
    yield Check(
        "Score file",
        PASS if same else FAIL,
        f"scores.parquet {'has' if same else 'does not have'} the hash {kept[:12]} that metrics.json names",
        source="metrics.json",
        remedy="the numbers are of another score file: evaluate this one",
        command=f"halo evaluate {case.run}/scores.parquet",
    )
    test = case.split_scores("test")
    if len(np.unique(test["label"].to_numpy())) == 2:
        again, told = binary_metrics(test["logit"], test["label"]), case.metrics["test"]
        worst = max(abs(again[name] - told[name]) for name in ("auroc", "ap", "brier"))
        yield Check(
            "Metrics",
            PASS if worst < 1e-9 else FAIL,
            f"AUROC, average precision and Brier score computed anew differ by {worst:.1g} at most",
            value=worst,
            source="metrics.json",
            remedy="evaluate anew",
            command=f"halo evaluate {case.run}/scores.parquet",
        )
    yield Check(
        "Data",
        PASS if case.is_own_data else CONCERN,
        f"the data at {case.data_root} {'are' if case.is_own_data else 'are not'} those the run was trained on "
        f"({case.index.fingerprint[:12]}; the run saw {case.provenance['data_fingerprint'][:12]})",
        source="provenance.json",
        remedy="what this review measures on them need not hold for the run",
    )
    yield _scored_again(case)
    version = case.provenance["code_version"]
    clean = version.get("dirty") is False
    yield Check(
        "Code version",
        PASS if clean else CONCERN,
        f"commit {str(version.get('commit'))[:12]}, "
        f"{'as committed' if clean else 'with changes that no commit holds, or unknown'}",
        source="provenance.json",
        remedy="commit first, so that the run can be repeated",
    )


def _scored_again(case: Case) -> Check:
    """Logits of the checkpoint now, beside those of the score file."""
    if not case.is_own_data:
        return Check.missing("Scored again", "these are not the stamps of the score file", f"halo review {case.run}")
    row, logit = (case.scores[name].to_numpy() for name in ("row", "logit"))
    order = np.argsort(row)
    there = np.isin(case.few_stamps.rows, row)
    kept = logit[order[np.searchsorted(row, case.few_stamps.rows[there], sorter=order)]]
    now = scoring.logits(case.task, case.few_stamps, case.precision)[there]
    difference, allowed = np.abs(now - kept), _SAME_LOGIT[case.precision]
    same = float(np.median(difference)) <= allowed
    return Check(
        "Scored again",
        PASS if same else FAIL,
        f"best.ckpt gives {len(kept)} stamps the logits of the score file to within "
        f"{np.median(difference):.1g} (median) and "
        f"{difference.max():.1g} at most, in {case.precision} on this CPU; a median of {allowed:g} is allowed",
        value=float(difference.max()),
        source="scores.parquet",
        remedy="the score file is not of this checkpoint, or preprocessing has changed since",
        command=f"halo score {case.run}/checkpoints/best.ckpt {case.data_root} --out scores.parquet",
    )


def checkpoint(case: Case) -> Iterator[Check]:
    """Whether the file explains itself, and can be opened without running what is in it."""
    held = case.checkpoint
    lacking = [what for what, key in _KEYS.items() if held.get(key) is None]
    if case.precision == "16-mixed" and "MixedPrecision" not in held:
        lacking.append("gradient scaler")
    yield Check(
        "Contents",
        FAIL if lacking else PASS,
        "best.ckpt opens as tensors and plain values only and carries "
        f"{', '.join(w for w in _KEYS if w not in lacking)}" + (f"; it lacks {', '.join(lacking)}" if lacking else ""),
        source="checkpoints/best.ckpt",
        remedy="end the run, which calibrates and completes it",
        command=f"python train.py resume={case.run}",
    )
    same = (
        held.get("preprocessing") == case.config["transforms"]
        and held.get("data_fingerprint") == case.provenance["data_fingerprint"]
    )
    yield Check(
        "Agreement with the run",
        PASS if same else FAIL,
        f"preprocessing and data fingerprint in the checkpoint {'are' if same else 'are not'} those of the run",
        source="config.yaml",
        remedy="this checkpoint is of another run",
    )
    last = (case.run / "checkpoints" / "last.ckpt").is_file()
    yield Check(
        "To go on from",
        PASS if last else CONCERN,
        f"last.ckpt {'is' if last else 'is not'} there",
        source="checkpoints/last.ckpt" if last else "",
        remedy="the run cannot be trained further; best.ckpt scores all the same",
    )


def nothing_dropped(case: Case) -> Iterator[Check]:
    """Rows in = rows scored + quarantined + excluded, by count."""
    told = case.quarantine
    for split in ("val", "test"):
        n_rows, n_bad = _total(told["rows"][split]), _in_split(told["quarantined"], split)
        n_scored = case.split_scores(split).num_rows
        whole = n_rows == n_scored + n_bad
        yield Check(
            f"Rows of {split}",
            PASS if whole else FAIL,
            f"{n_rows} in use {'=' if whole else 'is not'} {n_scored} scored + {n_bad} quarantined; "
            f"{_in_split(told['excluded'], split)} were excluded before",
            value=n_rows - n_scored - n_bad,
            source="quarantine/summary.json",
            remedy="rows went missing, or came twice: score the split again",
            command=f"halo score {case.run}/checkpoints/best.ckpt {case.data_root} --split {split}",
        )
    if case.is_own_data:
        yield _all_rows(case)
    n_bad, n_filled = (
        sum(_in_split(told[action], split) for split in told["rows"]) for action in ("quarantined", "repaired")
    )
    n_rows = sum(_total(classes) for classes in told["rows"].values())
    many = n_bad > told["limit"] * n_rows
    yield Check(
        "Quarantine",
        CONCERN if many else PASS,
        f"{n_bad} of {n_rows} rows were quarantined (limit {told['limit']:.1%} of a pass), {n_filled} "
        "repaired, each counted by "
        "reason, split and class",
        value=n_bad,
        source="quarantine/summary.json",
        remedy="repair the stamps: what is left out is not the sky any more",
    )
    yield case.gate("Missing bands, NaN pixels, unreadable stamps")
    yield case.gate("Rows left out by cutout_ok")


def _all_rows(case: Case) -> Check:
    """Rows of the files against those in use and those excluded."""
    told = case.quarantine
    before = case.index.store.faults["excluded"] if case.index.store else {}
    n_in = case.index.n_rows + sum(_in_split(before, split) for split in told["rows"])
    n_used = sum(_total(classes) for classes in told["rows"].values())
    n_out = sum(_in_split(told["excluded"], split) for split in told["rows"])
    whole = n_in == n_used + n_out
    return Check(
        "Rows of the dataset",
        PASS if whole else FAIL,
        f"{n_in} {'=' if whole else 'is not'} {n_used} in use + {n_out} excluded",
        value=n_in - n_used - n_out,
        source="quarantine/summary.json",
        remedy="rows are neither used nor accounted for: report this",
    )


def _total(classes: Mapping[str, int]) -> int:
    return sum(classes.values())


def _in_split(by_reason: Mapping[str, Any], split: str) -> int:
    """Rows of a split under all reasons."""
    return sum(_total(by_split.get(split, {})) for by_split in by_reason.values())
