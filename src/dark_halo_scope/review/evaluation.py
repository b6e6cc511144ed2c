"""D. Evaluation: metric and calibration, the validation split, thresholds and what is claimed for them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS
from dark_halo_scope.evaluation import plots
from dark_halo_scope.evaluation.metrics import (
    MIN_EXPECTED_FALSE_POSITIVES,
    PARTIAL_AUROC_FPR,
    TARGET_FPRS,
    controls_needed,
    fpr_name,
    supports_fpr,
)
from dark_halo_scope.evaluation.wording import threshold_name
from dark_halo_scope.review.answers import Check, Figure
from dark_halo_scope.review.case import Case

_SPLIT_GATES = (
    "Regions in two splits",
    "Hosts in two splits",
    "Places on the sky in two splits",
    "Stamps with equal pixels",
    "Nearly equal stamps",
    "Class balance",
    "Size of the splits",
    "Metadata by split",
)
_RATES = {f"tpr_at_fpr_{fpr_name(fpr)}": fpr for fpr in TARGET_FPRS} | {
    f"pauc_fpr_{fpr_name(PARTIAL_AUROC_FPR)}": PARTIAL_AUROC_FPR
}


def metric_and_calibration(case: Case) -> Iterator[Check]:
    """The headline with its intervals; reliability before and after calibration."""
    metrics, size = case.metrics, case.metrics["samples"]["test"]
    ends = metrics["intervals"]["test"]
    behind = f"{size['n_lenses']} lenses and {size['n_controls']} controls in {size['n_regions']} regions"
    refused = metrics["intervals"]["refused"]
    yield Check(
        "Ranking",
        CONCERN if refused else PASS,
        f"test AUROC {_with_ends(metrics['test']['auroc'], ends.get('auroc'))}, average precision "
        f"{_with_ends(metrics['test']['ap'], ends.get('ap'))}, F1 {metrics['test']['f1_lens']:.3f} at logit 0, "
        f"on {behind}" + (f"; no interval: {refused}" if refused else ""),
        value=metrics["test"]["auroc"],
        source="metrics.json",
        remedy="give the test split more regions",
    )
    name = f"tpr_at_fpr_{fpr_name(TARGET_FPRS[0])}"
    if name in metrics["unsupported"]:
        yield Check.missing(
            "Left end of the ROC", f"completeness at FPR 1 % {metrics['unsupported'][name]}", remedy="add controls"
        )
    else:
        yield Check(
            "Left end of the ROC",
            PASS,
            f"completeness {_with_ends(metrics['test'][name], ends.get(name))} at FPR 1 %. Where one galaxy in "
            "10,000 is a "
            f"lens, that is {TARGET_FPRS[0] / 1e-4:.0f} false positives for each of them; AUROC does not show it",
            value=metrics["test"][name],
            source="metrics.json",
        )
    before, after = metrics["calibration"]["before"], metrics["calibration"]["after"]
    allowed = after["ece_if_perfect"][1]
    good = after["ece"] <= allowed
    yield Check(
        "Calibration",
        PASS if good else CONCERN,
        f"ECE {before['ece']:.4f} before and {after['ece']:.4f} after calibration on validation; up to "
        f"{allowed:.4f} is "
        "chance for perfect probabilities",
        value=after["ece"],
        source="metrics.json",
        remedy="one temperature does not mend it: isotonic calibration, or more validation stamps",
        command=case.again("callbacks.calibration.method=isotonic"),
        figure=Figure(plots.reliability_plot(before, after), "Test stamps, before and after calibration."),
    )


def validation(case: Case) -> Iterator[Check]:
    """Both classes, and nothing of val or test in train."""
    for split in ("val", "test"):
        label = case.split_scores(split)["label"].to_numpy()
        n_lenses, n_controls = int((label == 1).sum()), int((label == 0).sum())
        single = 0 in (n_lenses, n_controls)
        yield Check(
            f"Both classes in {split}",
            FAIL if single else PASS,
            f"{n_lenses} lenses and {n_controls} controls were scored in {split}",
            value=min(n_lenses, n_controls),
            source="scores.parquet",
            remedy="nothing can be ranked, calibrated or stopped on one class: assign whole regions anew",
        )
    for name in _SPLIT_GATES:
        yield case.gate(name)
    ends = case.metrics["intervals"]["test"].get("auroc")
    val = case.metrics["val"]
    if ends is None or val is None:
        yield Check.missing(
            "Validation against test",
            "no interval, or no validation metrics, to compare with",
            remedy="give the test split more regions",
        )
        return
    alike = val["auroc"] <= ends[1]
    yield Check(
        "Validation against test",
        PASS if alike else CONCERN,
        f"AUROC {val['auroc']:.4f} on validation, {_with_ends(case.metrics['test']['auroc'], ends)} on test",
        source="metrics.json",
        remedy="validation flatters: choices were fitted to it, or it shows another sky",
    )


def thresholds(case: Case) -> Iterator[Check]:
    """Every claimed false-positive rate against the controls that stand behind it."""
    n_val, n_test = (int((case.split_scores(s)["label"].to_numpy() == 0).sum()) for s in ("val", "test"))
    claims = [*_claimed_points(case, n_val), *_claimed_metrics(case, n_val, n_test)]
    yield Check(
        "False-positive rates that are claimed",
        FAIL if claims else PASS,
        "; ".join(claims)
        if claims
        else f"none below what {n_val} validation and {n_test} test controls can bear "
        f"({MIN_EXPECTED_FALSE_POSITIVES} expected false positives)",
        value=len(claims),
        source="metrics.json",
        remedy=f"withdraw it, or score {controls_needed(min(TARGET_FPRS)):,} controls and more for FPR 1e-4",
        command=f"halo evaluate {case.run}/scores.parquet",
    )
    name = case.metrics["working_point"]
    point = next((p for p in case.metrics["operating_points"] if p["name"] == name), None)
    if point is None or point["test"] is None:
        yield Check.missing(
            "Working point", f"the working point {name} has no test result", f"halo evaluate {case.run}/scores.parquet"
        )
        return
    yield _working_point(point, n_val)


def _working_point(point: dict[str, Any], n_val: int) -> Check:
    """Whether the threshold does on test what it was chosen for on validation."""
    rate, found = point["test"]["false_positive_rate"], point["test"]["completeness"]
    target = point["target_fpr"]
    kept = target is not None and rate["interval"][0] <= target <= rate["interval"][1]
    return Check(
        "Working point",
        PASS if kept else CONCERN,
        f"{threshold_name(point)}: logit {point['logit']:.3f} from {n_val} validation controls; on test "
        f"{rate['passed']} of "
        f"{rate['n']} controls pass ({_with_ends(rate['rate'], rate['interval'])}), completeness "
        f"{_with_ends(found['rate'], found['interval'])}",
        value=point["logit"],
        source="metrics.json",
        remedy=f"no target rate is supported: {controls_needed(TARGET_FPRS[0])} validation controls give FPR 1 %"
        if target is None
        else "the rate does not carry over from validation to test: quote the one of the test, with its interval",
    )


def _claimed_points(case: Case, n_val: int) -> Iterator[str]:
    """Thresholds, of the evaluation and of the checkpoint, with too few validation controls for their rate."""
    sources = {"metrics.json": case.metrics["operating_points"], "best.ckpt": case.checkpoint.get("thresholds") or []}
    for source, points in sources.items():
        for point in points:
            target = point["target_fpr"]
            if point["supported"] and target is not None and not supports_fpr(target, n_val):
                yield f"{source} has a threshold for FPR {target:.2g} with {_expected(target, n_val)}"


def _claimed_metrics(case: Case, n_val: int, n_test: int) -> Iterator[str]:
    """Metrics that are not marked as unsupported, and the one that chose the checkpoint."""
    for name, fpr in _RATES.items():
        marked = name in case.metrics["unsupported"]
        if not supports_fpr(fpr, n_test) and (not marked or name in case.metrics["intervals"]["test"]):
            yield f"metrics.json gives {name} with {_expected(fpr, n_test)} as if it were measured"
    monitored = case.config["monitor"]["metric"].removeprefix("val/")
    if monitored in _RATES and not supports_fpr(_RATES[monitored], n_val):
        yield f"the checkpoint was chosen by {monitored} with {_expected(_RATES[monitored], n_val)}"


def _expected(fpr: float, n_controls: int) -> str:
    return f"{fpr * n_controls:.1f} expected false positives"


def _with_ends(value: float, ends: Any) -> str:
    return f"{value:.3f}" + (
        f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends is not None and np.isfinite(ends).all() else ""
    )
