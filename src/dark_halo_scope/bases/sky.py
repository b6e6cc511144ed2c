"""The sky: a target is what meets a condition (a regime of seeing, another survey); a base model is of regions.

The dataset's own splits stay: regions of its train split make base models, and the target's labels are of its train and
val splits; what is tested are the target's stamps in its test split, of regions that nothing has learnt from.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from dark_halo_scope.bases.canonical import canonical_json
from dark_halo_scope.bases.groups import GroupError, base_groups, refuse_leaks
from dark_halo_scope.bases.parts import BaseParts, Rows, TargetParts, split_base
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.sky.embedded import leak_checks, survey_root
from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import SPLITS
from dark_halo_scope.stamps.datamodule import StampDataModule
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.index_cache import cached_index

if TYPE_CHECKING:
    from torch import nn

_roots: dict[str, str] = {}  # of simulated surveys, by what a config asks for


def sky_of(cfg: DictConfig) -> "Sky":
    """The survey of a config, opened once a process; sets its root in the config if it is simulated."""
    if cfg.data.root is None:
        asked = canonical_json([OmegaConf.to_container(cfg.survey), str(cfg.paths.data_dir)])
        if asked not in _roots:
            _roots[asked] = survey_root(cfg)
        cfg.data.root = _roots[asked]
    return open_sky(cfg.data.root, cfg.data.index_cache, leak_checks(cfg))


@lru_cache
def open_sky(root: str, index_cache: str | None, checks: LeakChecks) -> "Sky":
    """The survey at a root, opened once a process."""
    reopen = partial(open_sky, root, index_cache, checks)
    return Sky(cached_index(root, index_cache, checks), root, checks.region_column, reopen)


class Sky:
    """See `source.Source`.

    Args:
        index: Of the survey.
        root: Where it is.
        region_column: Names the regions.
        reopen: Opens it in another process.
    """

    def __init__(self, index: StampIndex, root: str, region_column: str, reopen: "partial[Sky]") -> None:
        self.index = index
        self.reopen = reopen
        self._root = root
        self._region_column = region_column
        self._used = np.flatnonzero(index.exclusion == 0)
        self._region = np.full(index.n_rows, "", object)
        names = index.metadata(self._used, [region_column])[region_column].to_pylist()
        self._region[self._used] = list(map(str, names))
        self._met: dict[str, NDArray[np.bool_]] = {}

    def target(self, asked: str | None) -> str:
        """The condition, which somebody must have given.

        Raises:
            GroupError: There is none.
            ConditionError: It cannot be read.
        """
        if asked is None:
            raise GroupError("there is no target: give a condition on metadata, such as target='psf_fwhm_used_r > 1.3'")
        return Condition.parse(str(asked)).text

    def base_groups(self, cfg: DictConfig, target: str) -> tuple[tuple[str, ...], int | None]:
        """By hand, or the first of an order of all regions that have training stamps outside the target."""
        if cfg.n_folds is not None:
            raise GroupError(
                f"n_folds={cfg.n_folds}: the sky's target is a condition, which leaves out what meets it and no group; "
                "set n_folds=null"
            )
        outside = self._in("train") & ~self._meets(target)
        groups = sorted(set(self._region[outside]))
        if not groups:
            raise GroupError(
                f"every training stamp meets the target {target!r}, so that none is left to train a base model on: "
                "narrow the condition, or use the mode target_only"
            )
        if cfg.base_groups is None:
            return base_groups(groups, [], cfg.n_base, cfg.replicate, cfg.bases.seed), None
        bases = tuple(map(str, cfg.base_groups))
        refuse_leaks(bases, [], groups)
        return bases, None

    def samples(self, cfg: DictConfig, target: str) -> dict[str, Any]:
        """Stamps that meet the target are left out of the base."""
        kept = {name: cfg.data[name] for name in ("max_nonfinite_fraction", "lanes")}
        return {"group_by": self._region_column, "leave_out": target, **kept}

    def division(self, cfg: DictConfig) -> dict[str, Any]:
        """The seed draws who is labelled."""
        return {"seed": cfg.bases.seed + cfg.replicate}

    def stream(self, cfg: DictConfig) -> dict[str, Any]:
        """See `StampDataModule`."""
        names = ("eval_batch_size", "num_threads", "prefetch_batches", "quarantine_limit")
        return {name: cfg.data[name] for name in names}

    def base_parts(self, spec: BaseSpec) -> BaseParts:
        """Whole regions are for validation, or whatever the spec says."""
        mine = self._in("train") & ~self._meets(spec.preprocessing["samples"]["leave_out"])
        rows = np.flatnonzero(mine & np.isin(self._region, spec.groups))
        if spec.split.by == self._region_column:
            return split_base(self._region[rows].astype(str), rows, spec.split)
        return split_base(self.index.metadata(rows, [spec.split.by])[spec.split.by].to_pylist(), rows, spec.split)

    def target_parts(self, target: str, division: Mapping[str, Any], budget: int | None, n_val: int) -> TargetParts:
        """Labels are drawn evenly from both classes: to train from the train split, to validate from the val split."""
        meets = self._meets(target)
        pools = {split: np.flatnonzero(meets & self._in(split)) for split in SPLITS}
        self._refuse_one_class(target, pools["test"])
        n_train = len(pools["train"]) if budget is None else budget - n_val
        if budget is not None and n_val >= budget:
            raise GroupError(
                f"{n_val} labels of {target!r} for validation leave none to train on in a budget of {budget}, to which "
                "they count: set finetune.n_val lower, or to 0 to train for a fixed number of steps"
            )
        for split, n in (("train", n_train), ("val", n_val)):
            if n > len(pools[split]) or (split == "train" and n < 1):
                raise GroupError(
                    f"{n} labels cannot be had for {target!r}, which {len(pools[split])} stamps of the split {split} "
                    "meet: lower budget, or finetune.n_val, or widen the condition"
                )
        train, val = (
            self._drawn(pools[split], division["seed"])[:n] for split, n in (("train", n_train), ("val", n_val))
        )
        return TargetParts(np.sort(train), np.sort(val), pools["test"], train[:0])

    def refuse_leaks(self, spec: BaseSpec, target: str) -> None:
        """A base model that leaves out another regime may have seen this one."""
        assert spec.preprocessing["samples"]["leave_out"] == target

    def unlabelled(self, target: str, division: Mapping[str, Any]) -> Rows:
        """All of the target before the test."""
        return np.flatnonzero(self._meets(target) & (self._in("train") | self._in("val")))

    def fit_normalisation(self, normalise: "nn.Module", rows: Rows) -> None:
        """A stamp is normalised by itself."""

    def datamodule(
        self,
        index: StampIndex,
        folder: Path,
        samples: Mapping[str, Any],
        stream: Mapping[str, Any],
        *,
        batch_size: int,
        seed: int,
    ) -> StampDataModule:
        """See `source.Source`."""
        kept = {name: samples[name] for name in ("max_nonfinite_fraction", "lanes")}
        return StampDataModule(self._root, str(folder), index=index, batch_size=batch_size, seed=seed, **kept, **stream)

    def _in(self, split: str) -> NDArray[np.bool_]:
        return (self.index.split == SPLITS.index(split)) & (self.index.exclusion == 0)

    def _meets(self, target: str) -> NDArray[np.bool_]:
        """Whether each row of the dataset meets a condition; (N,)."""
        if target not in self._met:
            condition = Condition.parse(target)
            meets = np.zeros(self.index.n_rows, bool)
            meets[self._used] = condition.holds(self.index.metadata(self._used, list(condition.columns)))
            self._met[target] = meets
        return self._met[target]

    def _drawn(self, pool: Rows, seed: int) -> Rows:
        """In an order drawn by hashing row numbers: the first of each class, then the second of each ..."""
        order = sorted(pool.tolist(), key=lambda row: hashlib.sha256(f"label {seed} {row}".encode()).digest())
        by_class = [[row for row in order if self.index.label[row] == k] for k in range(len(self.index.classes))]
        turns = [(turn, k, row) for k, rows in enumerate(by_class) for turn, row in enumerate(rows)]
        return np.array([row for *_, row in sorted(turns)], np.int64)

    def _refuse_one_class(self, target: str, test: Rows) -> None:
        counts = np.bincount(self.index.label[test], minlength=len(self.index.classes))
        if not counts.all():
            raise GroupError(
                f"{len(test)} stamps of the test split meet {target!r}, none of them a "
                f"{self.index.classes[int(np.argmin(counts))]}, so that nothing can be measured: widen the condition"
            )
