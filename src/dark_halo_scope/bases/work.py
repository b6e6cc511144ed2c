"""What a plan is made of: one fine-tuning each, told so that an engine can run it without knowing what training is."""

import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from omegaconf import DictConfig

from dark_halo_scope.bases.spec import BaseSpec
from dark_halo_scope.bases.store import BaseStore

Label = str | int | float | None


@dataclass(frozen=True)
class Work:
    """A fine-tuning, and the base model it starts from.

    Keep it small, and let the works of a sweep share what they can: an engine holds those whose turn has not come, and
    sends `build` and `run` to other processes.

    Attributes:
        key: Of the fine-tuning in its store.
        base_key: Of the base model; None where it starts from fresh weights.
        build: Leaves the base model in its store; None where a missing one may not be made.
        run: Leaves the fine-tuning in its store; calls for a base model that is there.
        overrides: The command line that makes it alone.
        labels: What it is called in tables.
        base_spec: What determines the base model, for guesses of what its training takes.
    """

    key: str
    base_key: str | None
    build: Callable[[], object] | None
    run: Callable[[], object]
    overrides: tuple[str, ...]
    labels: Mapping[str, Label]
    base_spec: BaseSpec | None = None


@dataclass(frozen=True)
class Refusal:
    """A command line that no work can be made of.

    Attributes:
        overrides: The command line.
        error: Why, in a sentence.
        trace: Where in the code that was found.
    """

    overrides: tuple[str, ...]
    error: str
    trace: str


class Workshop(Protocol):
    """What makes works of composed configs.

    Attributes:
        bases: Store of the base models.
        tunings: Store of the fine-tunings.
    """

    bases: BaseStore
    tunings: BaseStore

    def work(self, cfg: DictConfig, overrides: tuple[str, ...]) -> Work:
        """The work that a config, composed of `overrides`, asks for; pure and quick, for there may be thousands."""


def command_of(overrides: Sequence[str]) -> str:
    """What makes the work of a command line alone."""
    return shlex.join(["python", "train.py", *overrides])


def sentence(error: BaseException) -> str:
    """An error in one line: an error of ours as it is, of others with its type."""
    text = " ".join(str(error).split())
    ours = isinstance(error, ValueError) and type(error).__module__.startswith("dark_halo_scope")
    return text if ours else f"{type(error).__name__}: {text}"


def trace(error: BaseException) -> str:
    """Where it was raised, for who looks for its cause."""
    return "".join(traceback.format_exception(error))
