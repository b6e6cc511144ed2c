"""How many known lenses are recovered, by tier and grade, and where they rank among everything that was scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dark_halo_scope.evaluation.intervals import LEVEL, binomial_interval
from dark_halo_scope.evaluation.metrics import MIN_EXPECTED_FALSE_POSITIVES
from dark_halo_scope.recovery.catalogue import KnownLenses
from dark_halo_scope.recovery.matching import NOT_SCORED, Matches

TOP_FRACTIONS = (1e-2, 1e-3, 1e-4)  # of the scored stamps, as a search would look through them
ALL = "all"
_TIERS = ("primary", "stress")  # before any other
Record = dict[str, Any]


def recovery(
    known: KnownLenses, matches: Matches, scores: pa.Table, thresholds: Sequence[Record], thresholds_from: str | None
) -> Record:
    """Recall at every threshold and among the highest-ranked stamps.

    Args:
        known: The lenses, n of them.
        matches: Their stamps.
        scores: The score table.
        thresholds: Records of `thresholds_for`; the first supported one decides which lenses are called missed.
        thresholds_from: What they were chosen on.

    Returns:
        ``lenses``: each one with its rank, best first. ``groups``: recall of all, by tier and by grade. ``not_scored``:
        lenses without a stamp, which count nowhere else. ``missed``: names of lenses below the deciding threshold.
    """
    logits = scores["logit"].to_numpy()
    cuts = [*map(_threshold, thresholds), *_top_cuts(logits)]
    lenses = _ranked(known, matches, scores, logits)
    point = next((cut for cut in cuts if cut["logit"] is not None), None)
    return {
        "counts": {
            "catalogue": len(known.name),
            "matched": len(lenses),
            "not_scored": len(matches.reason),
            "scored_stamps": len(logits),
            "labelled_lenses": int((scores["label"].fill_null(0).to_numpy() == 1).sum()),
        },
        "matched_by": matches.how,
        "level": LEVEL,
        "thresholds_from": thresholds_from,
        "cuts": cuts,
        "groups": _groups(lenses, cuts),
        "decided_by": point["name"] if point else None,
        "missed": [lens for lens in lenses if point and lens["logit"] < point["logit"]],
        "lenses": lenses,
        "not_scored": [
            {"name": known.name[row], "tier": known.tier[row], "grade": known.grade[row], "reason": reason}
            for row, reason in sorted(matches.reason.items())
        ],
    }


def _threshold(record: Record) -> Record:
    keys = ("name", "target_fpr", "target_fp_per_deg2", "logit", "reason")
    return {key: record[key] for key in keys if key in record} | {"top_fraction": None}


def _top_cuts(logits: NDArray[np.float32]) -> list[Record]:
    """The logit of the last stamp that belongs to each top fraction, as far as there are enough stamps."""
    cuts = []
    descending = -np.sort(-logits)
    for fraction in TOP_FRACTIONS:
        n_top = int(fraction * len(logits))
        enough = n_top >= MIN_EXPECTED_FALSE_POSITIVES
        reason = f"the highest {n_top} of {len(logits)} stamps; {MIN_EXPECTED_FALSE_POSITIVES} are needed"
        cuts.append(
            {
                "name": f"top_{fraction:g}",
                "top_fraction": fraction,
                "target_fpr": None,
                "logit": float(descending[n_top - 1]) if enough else None,
                "reason": None if enough else reason,
            }
        )
    return cuts


def _ranked(known: KnownLenses, matches: Matches, scores: pa.Table, logits: NDArray[np.float32]) -> list[Record]:
    """Lenses with a stamp, highest logit first."""
    ascending = np.sort(logits)
    rows = np.flatnonzero(matches.stamp != NOT_SCORED)
    probability = scores["probability"].to_pylist() if len(rows) else []
    lenses = []
    for row in rows.tolist():
        stamp = int(matches.stamp[row])
        n_above = int(len(logits) - np.searchsorted(ascending, logits[stamp], side="right"))
        lenses.append(
            {
                "name": known.name[row],
                "tier": known.tier[row],
                "grade": known.grade[row],
                "ra": _or_none(known.ra[row]),
                "dec": _or_none(known.dec[row]),
                "separation_arcsec": _or_none(matches.separation_arcsec[row]),
                "row": int(scores["row"][stamp].as_py()),
                "logit": float(logits[stamp]),
                "probability": probability[stamp],
                "rank": n_above + 1,  # 1 is the highest; stamps of one logit share the best rank
                "top_fraction": (n_above + 1) / len(logits),
            }
        )
    return sorted(lenses, key=lambda lens: -lens["logit"])


def _groups(lenses: Sequence[Record], cuts: Sequence[Record]) -> list[Record]:
    """All lenses, then by tier, then by grade."""
    groups = [_group(ALL, ALL, lenses, cuts)]
    for kind in ("tier", "grade"):
        names = {lens[kind] for lens in lenses}
        first = [name for name in _TIERS if name in names]
        for name in (*first, *sorted(names - set(first))):
            groups.append(_group(kind, name, [lens for lens in lenses if lens[kind] == name], cuts))
    return groups


def _group(kind: str, name: str, lenses: Sequence[Record], cuts: Sequence[Record]) -> Record:
    tops = [lens["top_fraction"] for lens in lenses]
    return {
        "kind": kind,
        "name": name,
        "n": len(lenses),
        "median_top_fraction": float(np.median(tops)) if tops else None,
        "recall": {
            cut["name"]: _recall(sum(lens["logit"] >= cut["logit"] for lens in lenses), len(lenses))
            for cut in cuts
            if cut["logit"] is not None and lenses
        },
    }


def _recall(found: int, n: int) -> Record:
    return {"found": found, "n": n, "rate": found / n, "interval": binomial_interval(found, n).tolist()}


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
