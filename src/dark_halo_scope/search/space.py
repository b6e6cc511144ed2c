"""The search space: Hydra's override grammar to Optuna distributions, and a trial's draw back to overrides.

A space is a mapping from a key of the config, or a config group, to what it may be::

    optimizer.lr: tag(log, interval(1e-5, 1e-3))
    model: choice(resnet18, small_cnn)
    model.stem: {space: "choice(3x3, imagenet)", when: {model: resnet18}}

`when` makes a parameter conditional: it is drawn only where each key named there has the value, or one of the values.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, ListConfig
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dark_halo_scope.search.errors import SearchError

Scalar = str | int | float | bool | None


class Draws(Protocol):
    """What a space asks of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar: ...  # noqa: D102
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...  # noqa: D102
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Parameter:
    """One key of the config that the search decides."""

    name: str
    text: str  # as it was written
    distribution: BaseDistribution
    words: Mapping[Scalar, str] = field(default_factory=dict)  # a choice as Hydra reads it
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)

    def draw(self, trial: Draws) -> Scalar:
        """Let the sampler decide."""
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(self.name, choices)
            case IntDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_int(self.name, low, high, step=step, log=log)
            case FloatDistribution(low=low, high=high, step=step, log=log):
                return trial.suggest_float(self.name, low, high, step=step, log=log)
        raise AssertionError(self.distribution)

    def override(self, value: Scalar) -> str:
        """The override that gives the key this value."""
        return f"{self.name}={self.words.get(value, value)}"

    def values(self) -> list[Scalar]:
        """Every value that it may have.

        Raises:
            SearchError: there is no end of them.
        """
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return list(choices)
            case IntDistribution(low=low, high=high, step=step):
                return list(range(low, high + 1, step))
            case FloatDistribution(low=low, high=high, step=float(step)):
                return [low + step * i for i in range(round((high - low) / step) + 1)]
        raise SearchError(f"a grid has no room for {self.name}: {self.text}; write choice(...) or range(...)")


@dataclass(frozen=True)
class Space:
    """All parameters, in the order in which they are drawn, and the keys that the command line has settled."""

    parameters: tuple[Parameter, ...]
    settled: Mapping[str, Scalar]

    def draw(self, trial: Draws) -> dict[str, Scalar]:
        """A value for every parameter whose condition holds."""
        drawn: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if self._holds(parameter, drawn):
                drawn[parameter.name] = parameter.draw(trial)
        return drawn

    def overrides(self, drawn: Mapping[str, Scalar]) -> list[str]:
        """What to write on the command line for these values."""
        return [p.override(drawn[p.name]) for p in self.parameters if p.name in drawn]

    def grid(self) -> list[dict[str, Scalar]]:
        """Every point; conditional parameters only where their condition holds."""
        points: list[dict[str, Scalar]] = [{}]
        for parameter in self.parameters:
            points = list(itertools.chain.from_iterable(self._with(parameter, point) for point in points))
        return points

    def _with(self, parameter: Parameter, point: dict[str, Scalar]) -> Iterator[dict[str, Scalar]]:
        if not self._holds(parameter, point):
            yield point
            return
        for value in parameter.values():
            yield {**point, parameter.name: value}

    def _holds(self, parameter: Parameter, drawn: Mapping[str, Scalar]) -> bool:
        known = {**self.settled, **drawn}
        return all(key in known and known[key] in values for key, values in parameter.when.items())


def read_space(written: Mapping[str, Any], command_line: Sequence[str]) -> Space:
    """Read the space of a config, as the command line changes it.

    Args:
        written: key -> text, or {space: text, when: {key: value or values}}.
        command_line: overrides; a sweep takes the place of the parameter of that name, a plain value settles it.

    Raises:
        SearchError: what cannot be searched, by name.
    """
    parser = OverridesParser.create()
    on_line = {override.get_key_element(): override for override in parser.parse_overrides(list(command_line))}
    settled = {key: _plain(o) for key, o in on_line.items() if not o.is_sweep_override()}
    texts = {str(key): _text_and_condition(str(key), entry) for key, entry in written.items() if entry is not None}
    for key, override in on_line.items():
        if override.is_sweep_override():
            texts[key] = (override.get_value_string(), texts.get(key, ("", {}))[1])
    parameters: list[Parameter] = []
    for key, (text, when) in texts.items():
        if key in settled:
            continue
        before = {p.name for p in parameters} | settled.keys()
        if unknown := when.keys() - before:
            raise SearchError(
                f"{key} depends on {', '.join(sorted(unknown))}, which is neither searched before it nor given on the "
                "command line"
            )
        parameters.append(_parameter(parser, key, text, when))
    if not parameters:
        raise SearchError("nothing to search: choose a search_space= or write a sweep, such as optimizer.lr=1e-4,1e-3")
    return Space(tuple(parameters), settled)


def _text_and_condition(key: str, entry: Any) -> tuple[str, dict[str, tuple[Scalar, ...]]]:
    if not isinstance(entry, Mapping | DictConfig):
        return str(entry), {}
    if set(entry) != {"space", "when"}:
        raise SearchError(f"the space of {key} has the keys {', '.join(map(str, entry))}: write space and when")
    conditions = {
        str(name): tuple(values) if isinstance(values, list | ListConfig) else (values,)
        for name, values in entry["when"].items()
    }
    return str(entry["space"]), conditions


def _parameter(parser: OverridesParser, key: str, text: str, when: Mapping[str, tuple[Scalar, ...]]) -> Parameter:
    override = parser.parse_override(f"{key}={text}")
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep | RangeSweep | IntervalSweep):
        raise SearchError(f"{key}: {text} is one value; write choice(...), range(...) or interval(...), or take it out")
    if unknown := sweep.tags - {"log"}:
        raise SearchError(f"{key}: {text} has the tag {', '.join(sorted(unknown))}; the only one known is log")
    log = "log" in sweep.tags
    if isinstance(sweep, ChoiceSweep):
        words = dict(_choices(override))
        return Parameter(key, text, CategoricalDistribution(list(words)), words, when)
    try:
        distribution = _interval(sweep, log) if isinstance(sweep, IntervalSweep) else _range(sweep, log)
    except ValueError as error:
        raise SearchError(f"{key}: {text}: {error}") from error
    return Parameter(key, text, distribution, when=when)


def _choices(override: Override) -> Iterator[tuple[Scalar, str]]:
    """Choices as values and as words; lists and mappings, which Optuna has no place for, stay words."""
    for value, word in zip(override.sweep_iterator(), override.sweep_string_iterator(), strict=True):
        yield (value if isinstance(value, str | int | float | bool | None) else word), word


def _interval(sweep: IntervalSweep, log: bool) -> BaseDistribution:
    assert sweep.start is not None
    assert sweep.end is not None
    if isinstance(sweep.start, int) and isinstance(sweep.end, int):  # int(interval(1, 8))
        return IntDistribution(sweep.start, sweep.end, log=log)
    return FloatDistribution(sweep.start, sweep.end, log=log)


def _range(sweep: RangeSweep, log: bool) -> BaseDistribution:
    values = sorted(sweep.range())
    if not values:
        raise ValueError("the range is empty")
    step = abs(sweep.step)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(values[0]), int(values[-1]), step=int(step), log=log)
    return FloatDistribution(float(values[0]), float(values[-1]), step=float(step), log=log)


def _plain(override: Override) -> Scalar:
    value = override.value()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def first_point(space: Space) -> dict[str, Scalar]:
    """The lowest value or first choice of everything: a point to try the config with."""
    lowest = {
        p.name: p.distribution.choices[0]
        if isinstance(p.distribution, CategoricalDistribution)
        else p.distribution.to_external_repr(p.distribution.low)  # type: ignore[attr-defined]
        for p in space.parameters
    }
    return space.draw(optuna.trial.FixedTrial(lowest))


def key_of(word: str) -> str:
    """The key of an override."""
    return OverridesParser.create().parse_override(word).get_key_element()


def belongs(word: str, groups: Sequence[str]) -> bool:
    """Whether an override changes one of these groups or nodes, or something inside."""
    key = key_of(word).lstrip("+~")
    return any(key == group or key.startswith((f"{group}.", f"{group}/")) for group in groups)
