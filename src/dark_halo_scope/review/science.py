"""F. Science: shortcuts, what to validate before publishing, and what lies beyond the injections."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, worst
from dark_halo_scope.evaluation import baseline
from dark_halo_scope.generalisation.degradation import DEPLOYED_FPR
from dark_halo_scope.review.answers import Check
from dark_halo_scope.review.case import Case

_SHORTCUT_GATES = (
    "One number of a stamp",
    "Several numbers of a stamp",
    "One metadata column",
    "Empty sky, or all metadata",
    "Metadata by class",
)
_MANY_TIMES = 5  # the overall false-positive rate
_SEEDS = 3
_STRATA = ("theta_e_arcsec", "psf_fwhm_used_r", "arc_snr")


def controls(case: Case) -> Iterator[Check]:
    """What a trivial classifier reaches, what the network adds, and which controls fool it."""
    for name in _SHORTCUT_GATES:
        yield case.gate(name)
    yield _margin(case)
    kinds = case.metrics["control_kinds"]
    if not kinds:
        yield Check.missing(
            "Kinds of controls", "the data do not say what kind a control is", remedy="add a column control_kind"
        )
        return
    overall = sum(kind["passed"] for kind in kinds) / sum(kind["n"] for kind in kinds)
    known = [kind for kind in kinds if kind["interval"]]
    if not known:
        yield Check.missing("Kinds of controls", "too few controls of every kind for a rate", remedy="add controls")
        return
    kind = max(known, key=lambda kind: kind["interval"][0])
    fooled = kind["interval"][0] > _MANY_TIMES * overall
    yield Check(
        "Kinds of controls",
        CONCERN if fooled else PASS,
        f"at the working point {overall:.1%} of all controls pass; of the kind {kind['name']}, "
        f"{kind['passed']} of {kind['n']} "
        f"({kind['rate']:.1%}, {kind['interval'][0]:.1%} to {kind['interval'][1]:.1%})",
        value=kind["rate"],
        source="metrics.json",
        remedy=f"show it more controls of the kind {kind['name']}, and state this rate by kind",
    )


def _margin(case: Case) -> Check:
    """Network minus the best trivial classifier, on the same stamps."""
    name, margins = "Margin over trivial classifiers", case.metrics.get("baselines")
    if margins is None and case.is_own_data and case.audit["best_baseline"]:
        scores = baseline.find(case.audit_folder)
        margins = baseline.baseline_margins(case.split_scores("test"), scores, case.region_column)
    if margins is None:
        return Check.missing(
            name, "no trivial classifier was measured on the stamps of this run", f"halo audit {case.data_root}"
        )
    margin = next(m for m in margins["margins"] if m["metric"] == "auroc")
    ends = margin["interval"]
    worse = ends is not None and ends[1] < 0
    better = ends[0] > 0 if ends is not None else False
    told = f" ({ends[0]:+.3f} to {ends[1]:+.3f})" if ends else " (too few regions for an interval)"
    return Check(
        name,
        FAIL if worse else PASS if better else CONCERN,
        f"test AUROC {margin['network']:.3f} of the network, {margin['trivial']:.3f} of {margin['baseline']}, on "
        f"{margins['n_lenses']} lenses and {margins['n_controls']} controls: a margin of "
        f"{margin['difference']:+.3f}{told}",
        value=margin["difference"],
        source="metrics.json" if case.metrics.get("baselines") else case.name_of(case.audit_folder / "audit.html"),
        remedy="the network has not been shown to see more than a handful of numbers does: train longer",
        command=case.again(f"trainer.max_epochs={3 * case.config['trainer']['max_epochs']}"),
    )


def before_publishing(case: Case) -> Iterator[Check]:
    """Completeness by stratum, seeds, and real lenses."""
    strata = {stratum["column"] for stratum in case.metrics["completeness"]["strata"]}
    missing = [name for name in _STRATA if name not in strata]
    yield Check(
        "Completeness by stratum",
        CONCERN if missing else PASS,
        f"by {', '.join(sorted(strata))}" + (f"; not by {', '.join(missing)}" if missing else ""),
        source="report.html",
        remedy="keep these columns in the data",
    )
    yield _several_seeds(case)
    yield _known_lenses(case)


def _several_seeds(case: Case) -> Check:
    """Whether the scatter of training can be known."""
    seeds = _seeds(case)
    named = ", ".join(map(str, sorted(seeds)))
    told = f"{len(seeds)} finished run{'s' if len(seeds) > 1 else ''} of these settings on these data (seed {named})"
    if len(seeds) >= _SEEDS:
        return Check("Seeds", PASS, told, value=len(seeds), source="config.yaml")
    missing = [case.again(f"seed={seed}") for seed in range(1, _SEEDS + 1) if seed not in seeds]
    return Check.missing(
        "Seeds", f"{told}: the scatter of training is not known", "; ".join(missing[: _SEEDS - len(seeds)])
    )


def _known_lenses(case: Case) -> Check:
    """How many lenses of a catalogue were recovered."""
    found = case.find("recovery/recovery.json", "recovery.json")
    if found is None:
        return Check.missing(
            "Known lenses",
            "no real lens was shown to the network: injections are not the sky",
            f"halo score {case.run}/checkpoints/best.ckpt CUTOUTS --out known.parquet; halo recover "
            "known.parquet CATALOGUE "
            f"--calibrated-by {case.run}/scores.parquet --out {case.run}/recovery",
        )
    record = json.loads(found.read_text())
    counts, n_missed = record["counts"], len(record["missed"])
    told = (
        f"{counts['matched'] - n_missed} of {counts['matched']} lie above the threshold {record['decided_by']}"
        if record["decided_by"]
        else f"{counts['matched']} were scored; no threshold decides between them"
    )
    return Check(
        "Known lenses",
        PASS if record["decided_by"] else CONCERN,
        f"{told}; {counts['not_scored']} more of the catalogue have no scored stamp",
        value=counts["matched"] - n_missed,
        source=case.name_of(found),
        remedy="give halo recover a threshold (--calibrated-by, --fpr)",
    )


def generalisation(case: Case) -> Iterator[Check]:
    """The out-of-grid matrix, where one was trained on these data."""
    experiment = case.config["experiment_name"]
    found = case.find("generalisation.json", f"{case.run.parents[1]}/generalisation/{experiment}/generalisation.json")
    command = f"halo generalise experiment={experiment} data.root={case.data_root}"
    if found is None:
        yield Check.missing(
            "Out of grid", "not one run was trained without a kind of lens or observation and tested on it", command
        )
        return
    matrix: dict[str, Any] = json.loads(found.read_text())
    source = case.name_of(found)
    if matrix["data"]["fingerprint"] != case.provenance["data_fingerprint"]:
        yield Check.missing("Out of grid", f"{source} was measured on other data", command)
        return
    measured = [arm for arm in matrix["arms"] if arm["leave_out"] is not None and arm["degradation"]]
    if not measured:
        yield Check.missing("Out of grid", f"{source} holds no arm that has ended", command)
    for arm in measured:
        yield _arm(arm, source)


def _arm(arm: dict[str, Any], source: str) -> Check:
    """What is lost where a kind was not shown."""
    told, verdicts = [], []
    for measure, record in arm["degradation"]["measures"].items():
        ends = record["difference"]["interval"]
        told.append(
            f"{measure} {record['difference']['mean']:+.3f}" + (f" ({ends[0]:+.3f} to {ends[1]:+.3f})" if ends else "")
        )
        worse = "higher" if measure == DEPLOYED_FPR else "lower"
        verdicts.append(CONCERN if record["verdict"] == worse else PASS)
    return Check(
        f"Without {arm['name']}",
        worst(verdicts),
        "; ".join(told) or "too few stamps of the kind to say",
        source=source,
        remedy="the numbers hold inside the grid of injections only: state this loss, or widen the grid",
    )


def _seeds(case: Case) -> set[int]:
    """Seeds of finished runs beside this one, of the same settings on the same data."""
    seeds = set()
    for path in case.run.parent.glob("*/config.yaml"):
        run: Path = path.parent
        if not (run / "metrics.json").exists() or not (run / "provenance.json").exists():
            continue
        config = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(config, dict)
        fingerprint = json.loads((run / "provenance.json").read_text())["data_fingerprint"]
        same = {str(k): v for k, v in config.items()}
        if fingerprint == case.provenance["data_fingerprint"] and _settings(same) == _settings(case.config):
            seeds.add(int(same["seed"]))
    return seeds


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """What decides a training, besides seed, data and machine."""
    kept = {name: config[name] for name in ("model", "transforms", "optimizer", "scheduler", "monitor")}
    data, trainer, task = config["data"], config["trainer"], config["task"]
    kept["data"] = {name: data.get(name) for name in ("batch_size", "leave_out", "on_split_leak")}
    kept["trainer"] = {name: trainer[name] for name in ("max_epochs", "max_steps", "gradient_clip_val")}
    kept["task"] = {name: task.get(name) for name in ("label_smoothing", "class_weighting")}
    return kept
