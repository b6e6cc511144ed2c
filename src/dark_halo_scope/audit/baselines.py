"""Trivial classifiers: single numbers, metadata, core, empty sky, and a few dozen numbers together.

They are fitted, and each number's direction is chosen, on train; their AUROC is measured on val. Test stamps get scores
too, for the comparison with a network later, but no number of theirs is looked at here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import QuantileTransformer

from dark_halo_scope.audit.catalogue import Catalogue
from dark_halo_scope.audit.gates import PASS, UNMEASURED, Gate, listed, rule_above, verdict_above, worst
from dark_halo_scope.audit.metadata import read_columns
from dark_halo_scope.audit.sample import Sample
from dark_halo_scope.audit.scalars import is_core, is_sky
from dark_halo_scope.audit.settings import AuditSettings
from dark_halo_scope.evaluation.intervals import RegionBootstrap, TooFewRegionsError
from dark_halo_scope.evaluation.metrics import auroc, roc_counts
from dark_halo_scope.stamps.contract import SPLITS

SCALAR, METADATUM, SEVERAL, BLIND = "single number", "single metadatum", "several numbers", "blind to the arc"
_FEWEST_STAMPS = 20  # of each class, in train and in val: with fewer even the direction of a number is chance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stamps:
    """The good stamps of a sample with all that trivial classifiers may use.

    Attributes:
        rows: Row of each; (n,).
        label: 1 lens, 0 control; (n,).
        split: Position in `SPLITS`; (n,).
        region: Sky region by number; (n,).
        pixels: Numbers measured on the pixels by name, finite; (n,) each.
        metadata: Metadata inputs by name; (n,) each, NaN where missing.
    """

    rows: NDArray[np.int64]
    label: NDArray[np.int8]
    split: NDArray[np.int8]
    region: NDArray[np.int64]
    pixels: dict[str, Floats]
    metadata: dict[str, Floats]

    @classmethod
    def of(cls, catalogue: Catalogue, sample: Sample, inputs: Sequence[str]) -> "Stamps":
        """The good ones among the measured stamps of ``sample``, with the metadata columns ``inputs``."""
        good = sample.good[sample.measured]
        rows = sample.rows[sample.measured[good]]
        return cls(
            rows=rows,
            label=catalogue.index.label[rows],
            split=catalogue.index.split[rows],
            region=catalogue.region[rows],
            pixels={name: np.nan_to_num(values[good]).astype(np.float64) for name, values in sample.scalars.items()},
            metadata=read_columns(catalogue, rows, list(inputs)),
        )

    def of_split(self, split: str) -> NDArray[np.bool_]:
        """Which of them lie in a split, (n,)."""
        return self.split == SPLITS.index(split)

    def suffice(self) -> bool:
        """Whether train and val hold enough of both classes."""
        cells = [(self.of_split(split) & (self.label == c)).sum() for split in ("train", "val") for c in (0, 1)]
        return min(cells) >= _FEWEST_STAMPS


@dataclass(frozen=True)
class Baseline:
    """A trivial classifier.

    Attributes:
        name: What it looks at.
        kind: `SCALAR`, `METADATUM`, `SEVERAL` or `BLIND`.
        n_inputs: Numbers that it uses.
        scores: Higher is more like a lens; (n,), NaN where its number is missing.
        auroc: On val.
        interval: Both ends of the 95 % interval.
        resampled: Whether ``region`` s or ``stamp`` s were resampled for it.
    """

    name: str
    kind: str
    n_inputs: int
    scores: Floats
    auroc: float
    interval: tuple[float, float]
    resampled: str

    def to_dict(self) -> dict[str, Any]:
        """Everything but the scores."""
        return {name: value for name, value in vars(self).items() if name != "scores"}


def measure_baselines(stamps: Stamps, settings: AuditSettings) -> list[Baseline]:
    """All trivial classifiers, the strongest of each kind first; none where the sample has too few stamps."""
    if not stamps.suffice():
        return []
    core, sky = ({n: v for n, v in stamps.pixels.items() if chosen(n)} for chosen in (is_core, is_sky))
    found = [_single(stamps, name, SCALAR, values, settings) for name, values in stamps.pixels.items()]
    found += [_single(stamps, name, METADATUM, values, settings) for name, values in stamps.metadata.items()]
    fitted: list[tuple[str, str, dict[str, Floats], Any]] = [
        ("logistic regression", SEVERAL, stamps.pixels, _logistic(int(stamps.of_split("train").sum()))),
        ("gradient boosting", SEVERAL, stamps.pixels, _boosting(settings.seed)),
        ("core only", SEVERAL, core, _boosting(settings.seed)),
        ("sky only", BLIND, sky, _boosting(settings.seed)),
    ]
    if stamps.metadata:
        fitted.append(("metadata only", BLIND, stamps.metadata, _boosting(settings.seed)))
    for name, kind, inputs, classifier in fitted:
        matrix, train = np.stack(list(inputs.values()), axis=1), stamps.of_split("train")
        classifier.fit(matrix[train], stamps.label[train])
        found.append(_measured(stamps, name, kind, len(inputs), classifier.decision_function(matrix), settings))
    return sorted((b for b in found if b is not None), key=lambda b: (b.kind, -b.auroc))


def _logistic(n_train: int) -> Pipeline:
    """On ranks, since flux ratios have tails that would outweigh everything else."""
    ranks = QuantileTransformer(n_quantiles=min(200, n_train), output_distribution="normal")
    return make_pipeline(ranks, LogisticRegression(max_iter=1000))


def _boosting(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)


def _single(stamps: Stamps, name: str, kind: str, values: Floats, settings: AuditSettings) -> Baseline | None:
    """One number as a classifier, in the direction that train prefers."""
    train = stamps.of_split("train") & np.isfinite(values)
    if len(np.unique(stamps.label[train])) < 2:
        return None
    rises = auroc(roc_counts(values[train], stamps.label[train])) >= 0.5
    return _measured(stamps, name, kind, 1, values if rises else -values, settings)


def _measured(
    stamps: Stamps, name: str, kind: str, n_inputs: int, scores: Floats, settings: AuditSettings
) -> Baseline | None:
    """AUROC on val with its interval; None where val has one class only among the known values."""
    val = stamps.of_split("val") & np.isfinite(scores)
    label, region = stamps.label[val], stamps.region[val]
    if len(np.unique(label)) < 2:
        return None
    try:
        bootstrap, resampled = (
            RegionBootstrap(scores[val], label, region, settings.n_resamples, settings.seed),
            "region",
        )
    except TooFewRegionsError:
        singly = np.arange(len(label))
        bootstrap, resampled = RegionBootstrap(scores[val], label, singly, settings.n_resamples, settings.seed), "stamp"
    low, high = bootstrap.interval(bootstrap.roc_statistics(lambda counts: {"auroc": auroc(counts)})["auroc"])
    value = float(auroc(roc_counts(scores[val], label)))
    return Baseline(name, kind, n_inputs, scores, value, (float(low), min(1.0, float(high))), resampled)


def baseline_gates(baselines: list[Baseline], settings: AuditSettings) -> list[Gate]:
    """One gate for each kind of trivial classifier, by the lower end of the interval, which chance hardly reaches."""
    limits = settings.limits
    asked = (
        (
            "One number of a stamp",
            SCALAR,
            limits.scalar_auroc,
            "inject fainter, redder or wider arcs, or controls that share it",
        ),
        (
            "Several numbers of a stamp",
            SEVERAL,
            limits.several_auroc,
            "add controls that look like lenses to all but the eye",
        ),
        (
            "One metadata column",
            METADATUM,
            limits.metadata_auroc,
            "draw controls and hosts of lenses from the same sky",
        ),
        ("Empty sky, or all metadata", BLIND, limits.metadata_auroc, "make lenses and controls from the same images"),
    )
    gates = []
    for name, kind, limit, remedy in asked:
        rule = rule_above("an AUROC whose 95 % interval lies", limit)
        of_kind = [b for b in baselines if b.kind == kind]
        if not of_kind:
            gates.append(Gate(name, UNMEASURED, f"fewer than {_FEWEST_STAMPS} stamps of a class in train or val", rule))
            continue
        verdicts = [verdict_above(b.interval[0], limit) for b in of_kind]
        verdict = worst(verdicts)
        shown = [b for b, v in zip(of_kind, verdicts, strict=True) if v != PASS] or of_kind[:1]
        found = listed([f"{b.name}: AUROC {b.auroc:.3f} ({b.interval[0]:.3f} to {b.interval[1]:.3f})" for b in shown])
        gates.append(Gate(name, verdict, found, rule, remedy if verdict != PASS else ""))
    return gates


def trivial_scores(stamps: Stamps, baselines: list[Baseline]) -> tuple[pa.Table, str | None]:
    """Scores of the best single number, the logistic regression and the boosting, and the name of the best on val.

    Returns:
        Columns ``row``, ``split``, ``label``, ``baseline_<name>`` for the val and test stamps; the best one's column.
    """
    kept = stamps.split > 0
    columns: dict[str, Any] = {
        "row": stamps.rows[kept],
        "split": pa.array([SPLITS[s] for s in stamps.split[kept]], pa.string()),
        "label": stamps.label[kept],
    }
    by_name = {b.name: b for b in baselines}
    named = {
        "baseline_scalar": best_of(baselines, SCALAR),
        "baseline_logistic": by_name.get("logistic regression"),
        "baseline_boosting": by_name.get("gradient boosting"),
    }
    compared = {column: baseline for column, baseline in named.items() if baseline is not None}
    columns |= {column: baseline.scores[kept] for column, baseline in compared.items()}
    best = max(compared, key=lambda column: compared[column].auroc, default=None)
    return pa.table(columns), best


def best_of(baselines: list[Baseline], kind: str) -> Baseline | None:
    """The strongest on val of one kind."""
    return max((b for b in baselines if b.kind == kind), key=lambda b: b.auroc, default=None)
