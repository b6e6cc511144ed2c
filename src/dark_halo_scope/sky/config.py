"""What a synthetic survey is made of, checked when it is stated."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dark_halo_scope.sky.contaminants import CONTROL_KINDS
from dark_halo_scope.sky.injection import InjectionPriors
from dark_halo_scope.sky.priors import SurveyConfigError
from dark_halo_scope.stamps.contract import SPLITS

SIMULATOR_VERSION = 1  # raise it when the same config gives other stamps: finished surveys are then made anew


@dataclass(frozen=True)
class SurveyConfig:
    """A survey: its size, its splits, its lenses and its contaminants.

    Attributes:
        seed: Two surveys of one config and seed hold the same bytes.
        regions: Number of sky regions per split. A region is one brick with its own seeing and depth; it and its
            hosts belong to one split.
        stamps_per_region: Even; half of them are injections.
        regions_per_file: Regions per parquet file.
        injections: Distributions of the injected lenses.
        control_mix: Fraction of the controls by kind; the fractions add up to 1.
        artefact_fraction: Fraction of all stamps, injections and controls alike, with a streak in one band.
        defect_fraction: Fraction of all stamps with pixels without data; about a fifth of those are not ``cutout_ok``.
    """

    seed: int
    regions: Mapping[str, int]
    stamps_per_region: int
    regions_per_file: int
    injections: InjectionPriors
    control_mix: Mapping[str, float]
    artefact_fraction: float
    defect_fraction: float

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SurveyConfigError(f"seed must not be negative, got {self.seed}")
        if set(self.regions) != set(SPLITS):
            raise SurveyConfigError(f"regions must give a number for each of {SPLITS}, got {sorted(self.regions)}")
        empty = [split for split, number in self.regions.items() if number < 1]
        if empty:
            raise SurveyConfigError(f"every split needs at least one region, {empty[0]} has {self.regions[empty[0]]}")
        if self.stamps_per_region < 2 or self.stamps_per_region % 2:
            raise SurveyConfigError(
                f"stamps_per_region must be even and at least 2 (half are injections), got {self.stamps_per_region}"
            )
        if self.regions_per_file < 1:
            raise SurveyConfigError(f"regions_per_file must be at least 1, got {self.regions_per_file}")
        unknown = [kind for kind in self.control_mix if kind not in CONTROL_KINDS]
        if unknown:
            raise SurveyConfigError(f"control_mix names {unknown[0]!r}; the kinds are {', '.join(CONTROL_KINDS)}")
        total = sum(self.control_mix.values())
        if min(self.control_mix.values(), default=-1) < 0 or abs(total - 1) > 1e-6:
            raise SurveyConfigError(f"control_mix must be fractions >= 0 that add up to 1, they add up to {total:g}")
        for name in ("artefact_fraction", "defect_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise SurveyConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")

    @property
    def number_of_regions(self) -> int:
        """Regions over all splits."""
        return sum(self.regions.values())

    @property
    def number_of_stamps(self) -> int:
        """Stamps over all splits."""
        return self.number_of_regions * self.stamps_per_region

    def as_dict(self) -> dict[str, Any]:
        """The config as plain types, in the form the survey's manifest keeps."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def digest(self) -> str:
        """A short name for the survey that this simulator makes of this config."""
        made_from = {"simulator_version": SIMULATOR_VERSION} | self.as_dict()
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
