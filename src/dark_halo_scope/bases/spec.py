"""What determines the weights of a base model, all of it and nothing else, and the key that it makes.

Not in it: paths, device, number of GPUs (the batch is that of an optimiser step), workers, loggers, fold, target, mode,
and whatever belongs to a fine-tuning. A base trainer is given a `BaseSpec` and nothing more, so that what is not in it
cannot act on the weights.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dark_halo_scope.bases.canonical import Difference, content_key, differences, plain

SCHEMA = 1  # of the fields below
RECIPE_VERSION = 1  # raised by hand when the arithmetic of the base trainer changes


class SpecError(ValueError):
    """A base model that is not, or not fully, determined."""


@dataclass(frozen=True)
class EarlyStop:
    """When a training ends before its last epoch.

    Attributes:
        metric: What is watched in validation.
        mode: ``max`` or ``min``.
        patience: Validations without a gain that end it.
    """

    metric: str
    mode: str
    patience: int

    def __post_init__(self) -> None:
        _make_plain(self, "early_stop")
        if self.mode not in ("max", "min"):
            raise SpecError(f"early_stop.mode={self.mode!r} is unknown; use max or min")
        _at_least(1, self.patience, "early_stop.patience")


@dataclass(frozen=True)
class SplitSpec:
    """Which part of the base groups' rows is for validation: see `groups.split_base`.

    Attributes:
        val_fraction: Of the rows, at least.
        seed: Of the choice.
        by: Column whose values are kept whole, such as ``session`` or ``region_id``.
    """

    val_fraction: float
    seed: int
    by: str

    def __post_init__(self) -> None:
        _make_plain(self, "split")
        if not 0 <= self.val_fraction < 1:
            raise SpecError(f"split.val_fraction={self.val_fraction} must be at least 0 and less than 1")


@dataclass(frozen=True)
class BaseSpec:
    """A base model before it is trained. All values are kept plain and canonical: see `canonical.plain`.

    Attributes:
        data_fingerprint: Of the content of the dataset, wherever it lies.
        preprocessing: Config node of what is done to every sample; see `explicit` for this and the other nodes.
        groups: Base groups; sorted, whatever their order was.
        split: Training and validation part.
        model: Config node of the network.
        optimizer: Config node.
        scheduler: Config node.
        loss: Config node.
        augmentation: Config node, None where it is off: its parameters then determine nothing.
        batch_size: Samples of an optimiser step, over all devices and accumulated batches.
        max_epochs: Where the schedule ends.
        early_stop: None: never.
        precision: Such as ``32-true``.
        seed: Of weights, order and augmentation.
        schema: Version of these fields.
        recipe_version: Version of the arithmetic around them.

    Raises:
        SpecError: On construction, naming field and remedy.
        CanonicalError: On construction, where a value is not plain.
    """

    data_fingerprint: str
    preprocessing: Mapping[str, Any]
    groups: tuple[str, ...]
    split: SplitSpec
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    loss: Mapping[str, Any]
    augmentation: Mapping[str, Any] | None
    batch_size: int
    max_epochs: int
    early_stop: EarlyStop | None
    precision: str
    seed: int
    schema: int = SCHEMA
    recipe_version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(_sorted_groups(self.groups)))
        _make_plain(self, "")
        _check_schema(self.schema)
        if not self.data_fingerprint:
            raise SpecError("data_fingerprint is empty: give the fingerprint of the dataset's index")
        for name, least in {"batch_size": 1, "max_epochs": 1, "recipe_version": 1, "seed": 0}.items():
            _at_least(least, getattr(self, name), name)
        if self.precision == "auto":
            raise SpecError("precision=auto is another one on another machine: settle it before, such as 32-true")
        if self.early_stop is not None and self.split.val_fraction == 0:
            raise SpecError(
                f"early_stop watches {self.early_stop.metric}, but split.val_fraction=0 leaves nothing to validate "
                "on: raise it, or set early_stop to null"
            )

    def key(self) -> str:
        """Name of the base model in every store: 64 hex digits."""
        return content_key(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` takes them."""
        content: dict[str, Any] = plain(asdict(self), "spec")
        return content

    def to_json(self) -> str:
        """For people too: indented, keys sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "BaseSpec":
        """What `to_dict` has made.

        Raises:
            SpecError: It is no description of a base model, or one of another schema.
        """
        _check_schema(content.get("schema"))
        if odd := {field.name for field in fields(cls)} ^ content.keys():
            raise SpecError(f"this is no description of a base model: {min(odd)} is missing, or one too many")
        stop = content["early_stop"]
        nested = {"split": SplitSpec(**content["split"]), "early_stop": EarlyStop(**stop) if stop else None}
        return cls(**{**content, **nested})

    @classmethod
    def from_json(cls, text: str) -> "BaseSpec":
        """What `to_json` has made; see `from_dict`."""
        return cls.from_dict(json.loads(text))


def difference(here: BaseSpec, there: BaseSpec) -> list[Difference]:
    """Why two base models have two keys: path and both values of all that differs."""
    return differences(here.to_dict(), there.to_dict())


def _check_schema(schema: Any) -> None:
    if schema != SCHEMA:
        raise SpecError(
            f"this is of schema {schema}, but this version reads base models of schema {SCHEMA}: use the version that "
            "made it, or train it anew"
        )


def _sorted_groups(groups: Any) -> list[str]:
    if isinstance(groups, str):
        raise SpecError(f"groups={groups!r} is one text: give a list of names")
    names = sorted(groups)
    if not names:
        raise SpecError("a base model needs at least one base group; the mode target_only needs no base model")
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise SpecError(f"base groups are named twice: {', '.join(twice)}; name each once")
    return names


def _make_plain(spec: Any, path: str) -> None:
    """Replace every field of a frozen dataclass by its canonical copy, and refuse what must not be in a key."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        if not isinstance(value, EarlyStop | SplitSpec):
            where = f"{path}.{field.name}" if path else field.name
            content = plain(value, where)
            for leaf, text in _texts(content, where):
                _refuse_unsettled(leaf, text)
            object.__setattr__(spec, field.name, tuple(content) if isinstance(value, tuple) else content)


def _texts(content: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield path, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _texts(value, f"{path}.{key}")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _texts(value, f"{path}[{number}]")


def _refuse_unsettled(path: str, text: str) -> None:
    if text == "???" or "${" in text:
        raise SpecError(f"{path}={text} is not settled: its value would change under the same key; resolve the config")
    if text.startswith(("/", "~/", "./", "../")) or "://" in text:
        raise SpecError(
            f"{path}={text} is a path, and a file may change or move under the same key: leave it null, or name the "
            "file by the sha256 of its content"
        )


def _at_least(least: int, value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{name}={value} must be a whole number of at least {least}")
