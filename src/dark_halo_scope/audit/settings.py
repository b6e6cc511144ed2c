"""What an audit is made with: `configs/audit/default.yaml` holds the values and the reasons for them."""

import hashlib
import json
from dataclasses import asdict, dataclass

MODES = ("warn", "stop", "off")
AUDIT_VERSION = 1  # counts up when the same data would be judged or measured differently


class AuditError(ValueError):
    """An audit that cannot be made, or whose verdict forbids a training."""


@dataclass(frozen=True)
class Limits:
    """Where a gate turns from pass to concern to fail.

    Attributes:
        scalar_auroc: AUROC of one number of a stamp; ``concern`` and ``fail``, as in the next three.
        several_auroc: AUROC of a trivial classifier on several numbers.
        metadata_auroc: AUROC of what knows nothing of the class: metadata, empty sky.
        class_distance: Kolmogorov-Smirnov distance of a metadata column between the classes.
        split_distance: The same between splits; a concern at most.
        missing_difference: Difference between the classes of the fraction of missing values.
        unusable_fraction: Fraction of stamps that cannot be used.
        lens_fraction: Smallest and largest fraction of lenses in a split.
        split_fraction: Smallest fraction of the stamps in val and test.
        controls: Fewest controls in val and test.
    """

    scalar_auroc: dict[str, float]
    several_auroc: dict[str, float]
    metadata_auroc: dict[str, float]
    class_distance: dict[str, float]
    split_distance: float
    missing_difference: float
    unusable_fraction: float
    lens_fraction: list[float]
    split_fraction: float
    controls: int


@dataclass(frozen=True)
class AuditSettings:
    """Settings of an audit.

    Attributes:
        mode: What a run does about a gate that fails: one of `MODES`.
        n_stamps: Stamps whose pixels are measured.
        all_stamps: Whether duplicates are looked for among all stamps, not only among those.
        seed: Seed of the draw, of the resampling and of the gradient boosting.
        n_resamples: Resamples behind an interval.
        limits: Where gates open.
    """

    mode: str
    n_stamps: int
    all_stamps: bool
    seed: int
    n_resamples: int
    limits: Limits

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise AuditError(f"audit.mode={self.mode} is unknown; use {', '.join(MODES)}")
        if self.n_stamps < 1:
            raise AuditError(f"audit.n_stamps={self.n_stamps} must be at least 1")

    def digest(self) -> str:
        """Hex digest of all that the outcome depends on besides the data."""
        depends_on = asdict(self) | {"version": AUDIT_VERSION}
        del depends_on["mode"]
        return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
