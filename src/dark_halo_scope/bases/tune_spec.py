"""What determines a fine-tuning beside its base model, all of it and nothing else, and the key that both make."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dark_halo_scope.bases.canonical import content_key, plain
from dark_halo_scope.bases.modes import Mode, ModeError, Part, mode_named
from dark_halo_scope.bases.spec import EarlyStop

SCHEMA = 1  # of the fields below
RECIPE_VERSION = 1  # raised by hand when the arithmetic of fine-tuning changes
BATCH_NORM = ("frozen", "adapt")


@dataclass(frozen=True)
class Phase:
    """One training of a part of the network.

    Attributes:
        part: What learns.
        steps: Of the optimiser.
        lr: Peak learning rate, of the head.
    """

    part: Part
    steps: int
    lr: float

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ModeError(
                f"a fine-tuning of {self.steps} steps is none: set finetune.steps, or choose finetune=base_only"
            )


@dataclass(frozen=True)
class Training:
    """How a fine-tuning learns.

    Attributes:
        phases: One after the other.
        n_val: Labels of the target that early stopping looks at; they count in the budget.
        early_stop: None: never; then there is nothing to validate for, and `n_val` is 0.
        validate_every: Steps.
        batch_size: Samples of a step, at most: a target may have fewer.
        batch_norm: ``frozen`` or ``adapt``: see `layers.let_learn`.
        layer_decay: See `layers.layerwise`.
        optimizer: Config node; its learning rate is that of the phase.
        gradient_clip_val: Of the gradient's norm.
        scheduler: Config node.
        augmentation: Config nodes, None where it is off.
        seed: Of fresh weights, order and augmentation.
    """

    phases: tuple[Phase, ...]
    n_val: int
    early_stop: EarlyStop | None
    validate_every: int
    batch_size: int
    batch_norm: str
    layer_decay: float
    optimizer: Mapping[str, Any]
    gradient_clip_val: float | None
    scheduler: Mapping[str, Any]
    augmentation: Mapping[str, Any] | None
    seed: int

    def __post_init__(self) -> None:
        if self.batch_norm not in BATCH_NORM:
            raise ModeError(f"finetune.batch_norm={self.batch_norm} is unknown; choose {' or '.join(BATCH_NORM)}")
        if not 0 < self.layer_decay <= 1:
            raise ModeError(f"finetune.layer_decay={self.layer_decay} must be more than 0 and at most 1")
        for name in ("validate_every", "batch_size"):
            if getattr(self, name) < 1:
                raise ModeError(f"finetune.{name}={getattr(self, name)} must be at least 1")
        if self.early_stop is not None and self.n_val < 1:
            raise ModeError(
                f"finetune.early_stop watches {self.early_stop.metric}, but finetune.n_val={self.n_val}: give it "
                "labels of the target, which count in the budget, or set finetune.early_stop=null"
            )
        if self.early_stop is None and self.n_val:
            raise ModeError(
                f"finetune.n_val={self.n_val} labels would be taken from the budget and looked at by nobody: set "
                "finetune.early_stop, or finetune.n_val=0"
            )


@dataclass(frozen=True)
class TuneSpec:
    """A fine-tuning.

    Attributes:
        mode: See `modes.MODES`.
        base: Key of the base model; None where it starts from fresh weights.
        target: Whom it is for.
        data_fingerprint: Of the content of the dataset.
        division: How the target is divided into what is learnt from and what is tested: see `source.Source`.
        budget: Labels of the target that are paid for, those for validation among them; None for all there are. None
            too where nothing is learnt.
        preprocessing: Config nodes, as those of the base.
        model: Config node.
        loss: Config node.
        training: None where nothing is learnt.
        precision: Such as ``32-true``.
        schema: Version of these fields.
        recipe_version: Version of the arithmetic around them.
    """

    mode: str
    base: str | None
    target: str
    data_fingerprint: str
    division: Mapping[str, Any]
    budget: int | None
    preprocessing: Mapping[str, Any]
    model: Mapping[str, Any]
    loss: Mapping[str, Any]
    training: Training | None
    precision: str
    schema: int = SCHEMA
    recipe_version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        assert (self.base is not None) == self.how.starts_from_base
        assert (self.training is not None) == bool(self.how.phases)
        plain(asdict(self), "finetune")  # refuses here what has no key

    @property
    def how(self) -> Mode:
        """The mode itself."""
        return mode_named(self.mode)

    @property
    def n_val(self) -> int:
        """Labels for validation."""
        return self.training.n_val if self.training else 0

    def key(self) -> str:
        """Name of the fine-tuning in every store: 64 hex digits."""
        return content_key(asdict(self))

    def to_json(self) -> str:
        """For people too: indented, keys sorted."""
        return json.dumps(plain(asdict(self), "finetune"), indent=2, sort_keys=True)
