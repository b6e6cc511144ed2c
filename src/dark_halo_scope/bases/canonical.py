"""One text for one content: plain values, their canonical JSON, its hash, and what differs between two of them."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any


class CanonicalError(ValueError):
    """A value that has no canonical form."""


class Absent(Enum):
    """The side of a difference that has nothing there; null is something."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT
Difference = tuple[str, Any, Any]  # path, value here, value there

_HEX_DIGITS = 64


def plain(value: Any, path: str) -> Any:
    """A copy in plain JSON values, equal for equal contents.

    A whole number is an integer however it was written (1.0, 1e0, 1), any sequence is a list. Text is kept by code
    point: two spellings of a name that only look alike are two names in the data, too.

    Args:
        value: null, truth value, number, text, or mappings (with text as keys) and sequences of them.
        path: where it stands, for messages.

    Raises:
        CanonicalError: It is none of these, or holds NaN or infinity, naming where.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CanonicalError(f"{path} is {value}: JSON knows no such number; give a finite one, or null")
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, Mapping):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise CanonicalError(f"{path} has the key {strange[0]!r}: keys must be text; write {str(strange[0])!r}")
        return {str(key): plain(value[key], f"{path}.{key}") for key in sorted(value)}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, f"{path}[{number}]") for number, item in enumerate(value)]
    raise CanonicalError(
        f"{path} is a {type(value).__name__}: only null, truth values, numbers, text, lists and mappings have a "
        "canonical form; convert it"
    )


def canonical_json(value: Any) -> str:
    """ASCII without blanks, keys sorted: the same text for the same content, on any machine.

    Raises:
        CanonicalError: See `plain`.
    """
    return json.dumps(plain(value, "content"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: Any) -> str:
    """Sha256 of the canonical JSON, in hex. Every key is made here and nowhere else.

    Raises:
        CanonicalError: See `plain`.
    """
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def is_key(text: str) -> bool:
    """Whether it is a whole key."""
    return len(text) == _HEX_DIGITS and set(text) <= set("0123456789abcdef")


def differences(here: Any, there: Any, path: str = "") -> list[Difference]:
    """What differs between two contents, leaf by leaf; of two lists of names, the names that only one of them has."""
    return list(_walk(plain(here, path or "content"), plain(there, path or "content"), path))


def _walk(here: Any, there: Any, path: str) -> Iterator[Difference]:
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from _walk(here.get(key, ABSENT), there.get(key, ABSENT), f"{path}.{key}" if path else key)
    elif _is_names(here) and _is_names(there) and set(here) != set(there):
        for name in sorted(set(here) ^ set(there)):
            yield (f"{path}[{name}]", *((name, ABSENT) if name in here else (ABSENT, name)))
    elif ABSENT in (here, there) or canonical_json(here) != canonical_json(there):  # to Python, true equals 1
        yield path, here, there


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
