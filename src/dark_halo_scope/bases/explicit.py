"""Config nodes with every default written out, so that leaving one to its default and naming it is the same."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_object

from dark_halo_scope.bases.canonical import CanonicalError, plain

_HYDRA_DEFAULTS = {"_partial_": False, "_recursive_": True, "_convert_": "none"}
_HYDRA_KEYS = ("_target_", "_args_", *_HYDRA_DEFAULTS)


class NodeError(ValueError):
    """A config node that does not fit what it names."""


def explicit(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A resolved config node, and all nodes inside it, with the defaults of its `_target_` as its signature has them.

    A default that no config can hold (a class, a function, infinity) stays out: like any other constant of the code, it
    is a matter of `recipe_version`.

    Args:
        node: what Hydra would instantiate; a mapping without `_target_` is only looked through.
        path: where it stands, for messages.

    Raises:
        NodeError: `_target_` cannot be found, or does not take a parameter that the node gives it.
        CanonicalError: A value is not plain: see `canonical.plain`.
    """
    kept = {k: v for k, v in node.items() if k not in _HYDRA_DEFAULTS or v != _HYDRA_DEFAULTS[k]}
    filled = {str(key): _inside(value, f"{path}.{key}") for key, value in kept.items()}
    if "_target_" in node:
        filled = _missing_defaults(filled, path) | filled
    return filled


def _inside(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return explicit(value, path)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_inside(item, f"{path}[{number}]") for number, item in enumerate(value)]
    return plain(value, path)


def _missing_defaults(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    target = node["_target_"]
    try:
        parameters = inspect.signature(get_object(target)).parameters
    except Exception as error:  # an import may fail in any way
        raise NodeError(f"{path}._target_={target} cannot be looked up ({error}); check its name") from error
    given = [key for key in node if key not in _HYDRA_KEYS]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not takes_any and (unknown := [key for key in given if key not in parameters]):
        meant = difflib.get_close_matches(unknown[0], parameters, n=1)
        raise NodeError(
            f"{path}: {target} takes no {unknown[0]}; {f'did you mean {meant[0]}? ' if meant else ''}"
            f"it takes {', '.join(parameters)}"
        )
    by_position = set(list(parameters)[: len(node.get("_args_", []))])
    left = {name: p.default for name, p in parameters.items() if name not in by_position and name not in given}
    return {name: value for name, default in left.items() for value in _plain_default(default)}


def _plain_default(default: Any) -> list[Any]:
    """The default in a list, which is empty where there is none or no config can hold it."""
    try:
        return [plain(default, "")]
    except CanonicalError:
        return []
