"""Participants of a study: a target is one of them, a base model is of others."""

import logging
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dark_halo_scope.bases.canonical import canonical_json
from dark_halo_scope.bases.groups import GroupError, base_groups, leave_groups_out, refuse_leaks
from dark_halo_scope.bases.parts import (
    BaseParts,
    GroupedRows,
    Rows,
    TargetParts,
    refuse_shared_sessions,
    split_base,
    split_target,
)
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.windows.datamodule import WindowDataModule
from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.statistics import channel_statistics
from dark_halo_scope.windows.study import fill_in, index_windows

if TYPE_CHECKING:
    from dark_halo_scope.transforms.standardise import Standardise

log = logging.getLogger(__name__)

_opened: dict[str, "Participants"] = {}  # by root
_roots: dict[str, str] = {}  # by what a config asks for


def participants_of(cfg: DictConfig) -> "Participants":
    """The study of a config, opened once a process; sets in the config what the data decide."""
    asked = canonical_json([cfg.data.root, OmegaConf.to_container(cfg.participants), str(cfg.paths.data_dir)])
    if asked not in _roots:
        index = index_windows(cfg)
        _roots[asked] = cfg.data.root
        _opened[cfg.data.root] = Participants(index, cfg.data.root)
    cfg.data.root = _roots[asked]
    source = open_participants(cfg.data.root)
    fill_in(cfg, source.index)
    return source


def open_participants(root: str) -> "Participants":
    """The study at a root, opened once a process."""
    if root not in _opened:
        _opened[root] = Participants(WindowIndex.build(root), root)
    return _opened[root]


class Participants:
    """See `source.Source`.

    Args:
        index: Of the study.
        root: Where it is.
    """

    def __init__(self, index: WindowIndex, root: str) -> None:
        self.index = index
        self.reopen = partial(open_participants, root)
        self._root = root
        names, sessions = np.array(index.participants), np.array(index.sessions)
        duration_s = index.layout.duration_s - 0.5 / index.layout.sampling_rate_hz  # times are rounded
        self._rows = GroupedRows.of(names[index.participant], sessions[index.session], index.time, duration_s)

    def target(self, asked: str | None) -> str:
        """The first participant by name, if nobody asks."""
        return self._rows.groups[0] if asked is None else str(asked)

    def base_groups(self, cfg: DictConfig, target: str) -> tuple[tuple[str, ...], int | None]:
        """By hand, or the first of an order of all participants that the target's fold does not leave out."""
        groups = self._rows.groups
        if target not in groups:
            refuse_leaks(groups, [target], groups)
        if cfg.base_groups is not None:
            bases = tuple(map(str, cfg.base_groups))
            refuse_leaks(bases, [target], groups)
            return bases, None
        left_out: tuple[str, ...] = (target,)
        fold = None
        if cfg.n_folds is not None:
            folds = leave_groups_out(groups, cfg.n_folds, cfg.bases.seed)
            left_out, fold = next((found.targets, found.number) for found in folds if target in found.targets)
            if cfg.n_base is None:
                _warn_of_uneven(tuple(sorted({len(found.others) for found in folds})))
        return base_groups(groups, left_out, cfg.n_base, cfg.replicate, cfg.bases.seed), fold

    def samples(self, cfg: DictConfig, target: str) -> dict[str, Any]:
        """Who the groups are; the target is none of them."""
        return {"group_by": "participant", "lanes": cfg.data.lanes}

    def division(self, cfg: DictConfig) -> dict[str, Any]:
        """The last sessions are tested."""
        return {"test_fraction": cfg.bases.test_fraction}

    def stream(self, cfg: DictConfig) -> dict[str, Any]:
        """See `WindowDataModule`."""
        return {name: cfg.data[name] for name in ("eval_batch_size", "num_threads", "prefetch_batches")}

    def base_parts(self, spec: BaseSpec) -> BaseParts:
        """Whole sessions are for validation, or whatever the spec says."""
        rows = self._rows.of_groups(spec.groups)
        return split_base(self._values(spec.split.by, rows), rows, spec.split)

    def target_parts(self, target: str, division: Mapping[str, Any], budget: int | None, n_val: int) -> TargetParts:
        """The first labels of each class are learnt from, the last sessions tested."""
        return split_target(
            self._rows,
            target,
            budget=budget,
            n_val=n_val,
            test_fraction=division["test_fraction"],
            label=self.index.label,
        )

    def refuse_leaks(self, spec: BaseSpec, target: str) -> None:
        """Nobody is both, and nothing was recorded together."""
        refuse_leaks(spec.groups, [target], self._rows.groups)
        refuse_shared_sessions(self._rows, spec.groups, [target])

    def unlabelled(self, target: str, division: Mapping[str, Any]) -> Rows:
        """All sessions before the test."""
        return self.target_parts(target, division, None, 0).train

    def fit_normalisation(self, normalise: "Standardise", rows: Rows) -> None:
        """Mean and standard deviation of each channel, which need no labels."""
        normalise.fit(channel_statistics(self.index, rows))

    def datamodule(
        self,
        index: WindowIndex,
        folder: Path,
        samples: Mapping[str, Any],
        stream: Mapping[str, Any],
        *,
        batch_size: int,
        seed: int,
    ) -> WindowDataModule:
        """See `source.Source`."""
        return WindowDataModule(
            self._root,
            str(folder),
            index=index,
            batch_size=batch_size,
            seed=seed,
            lanes=samples["lanes"],
            **stream,
        )

    def _values(self, column: str, rows: Rows) -> list[str]:
        table = self.index.metadata(rows, [column])
        if column not in table.column_names:
            raise GroupError(
                f"bases.split_by={column} is no column of the study {self._root}: use session, or another column whose "
                "values may be kept whole"
            )
        return table[column].to_pylist()


@lru_cache  # once a process
def _warn_of_uneven(n_others: tuple[int, ...]) -> None:
    if len(n_others) > 1:
        told = " or ".join(map(str, n_others))
        log.warning(
            "n_base=null takes all that a fold leaves, which are %s: no curve goes through targets whose bases differ "
            "in size; set n_base=%d, or another n_folds",
            told,
            n_others[0],
        )
