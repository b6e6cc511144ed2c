"""The data of fine-tunings: what participants and the sky have in common."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig

from dark_halo_scope.bases.parts import BaseParts, Rows, TargetParts
from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.stamps.row_index import RowIndex

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule
    from torch import nn


class Source(Protocol):
    """A dataset whose rows are divided among base models and targets; made once a process.

    Attributes:
        index: All rows.
        reopen: Opens the same dataset in another process.
    """

    index: RowIndex
    reopen: "Callable[[], Source]"

    def target(self, asked: str | None) -> str:
        """The target that is asked for, or the one that stands for nobody asking."""

    def base_groups(self, cfg: DictConfig, target: str) -> tuple[tuple[str, ...], int | None]:
        """Groups of the base model of a target, and the fold that leaves the target out, if there are folds.

        Raises:
            GroupError: There are none, or the target is among them.
        """

    def samples(self, cfg: DictConfig, target: str) -> dict[str, Any]:
        """What of the config decides which samples a base model sees; goes into its key."""

    def division(self, cfg: DictConfig) -> dict[str, Any]:
        """What of the config decides which rows of a target are learnt from, and which are tested."""

    def stream(self, cfg: DictConfig) -> dict[str, Any]:
        """What of the config says how samples are read, and changes no number."""

    def base_parts(self, spec: BaseSpec) -> BaseParts:
        """Rows of a base model."""

    def target_parts(self, target: str, division: Mapping[str, Any], budget: int | None, n_val: int) -> TargetParts:
        """Rows of a target.

        Raises:
            GroupError: They cannot be divided so, or not without a leak.
        """

    def refuse_leaks(self, spec: BaseSpec, target: str) -> None:
        """Refuse a base model that has seen what a target is tested on.

        Raises:
            GroupError: It has.
        """

    def unlabelled(self, target: str, division: Mapping[str, Any]) -> Rows:
        """Rows of a target before its test, whatever the budget of labels: those a normalisation may look at."""

    def fit_normalisation(self, normalise: "nn.Module", rows: Rows) -> None:
        """Let a normalisation look at rows, if it needs to."""

    def datamodule(
        self,
        index: RowIndex,
        folder: Path,
        samples: Mapping[str, Any],
        stream: Mapping[str, Any],
        *,
        batch_size: int,
        seed: int,
    ) -> "LightningDataModule":
        """Streams the parts of a view of the index."""
