"""Thresholds in words."""

from collections.abc import Mapping
from typing import Any

from dark_halo_scope.pages.wording import target_percent


def threshold_name(record: Mapping[str, Any]) -> str:
    """Say how a threshold was chosen."""
    if "target_fp_per_deg2" in record:
        density = record["target_fp_per_deg2"]
        return f"{density:g} false positive{'' if density == 1 else 's'} per square degree"
    if record["target_fpr"] is not None:
        return f"false-positive rate {target_percent(record['target_fpr'])}"
    return {"best_f1": "best F1", "probability_0.5": "probability 0.5 (reference)"}[record["name"]]
