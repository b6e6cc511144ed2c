"""What sharing base models saved: trainings, and the time they took."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dark_halo_scope.bases.manifest import Manifest
from dark_halo_scope.bases.report.sweep import Asked


def savings(asked: Iterable[Asked], store: Path) -> dict[str, Any]:
    """Base trainings of the plan, against one for each fine-tuning that starts from a base model.

    Returns:
        ``n_tunings``; of them ``n_from_base``; ``n_bases`` and ``n_saved``, which add up to it. ``hours_spent`` on base
        trainings, ``hours_saved``: as the manifests of the bases tell; ``n_untimed`` ones are not in the store and
        count nothing. ``most_shared``: fine-tunings of the base model with the most.
    """
    base_of = {job.key: job.base for job in asked if job.key is not None}
    uses = Counter(base for base in base_of.values() if base is not None)
    hours = {key: Manifest.read(store / key).seconds / 3600 for key in uses if (store / key).is_dir()}
    return {
        "n_tunings": len(base_of),
        "n_from_base": uses.total(),
        "n_bases": len(uses),
        "n_saved": uses.total() - len(uses),
        "hours_spent": sum(hours.values()),
        "hours_saved": sum((uses[key] - 1) * hours[key] for key in hours),
        "n_untimed": len(uses) - len(hours),
        "most_shared": max(uses.values(), default=0),
    }
