"""What stands beside an artefact: who made it, when, with what, how good it is, and the sha256 of all its bytes."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dark_halo_scope.bases.canonical import content_key, plain
from dark_halo_scope.files import sha256, write_json

MANIFEST = "manifest.json"
SPEC = "spec.json"
FORMAT = "dark halo scope artefact"
FORMAT_VERSION = 1


class ManifestError(ValueError):
    """A manifest that this version cannot read, or that is damaged."""


class DamagedError(ManifestError):
    """An artefact that is not as it was written."""


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``.

    Attributes:
        key: Of the artefact: the hash of ``spec.json``.
        started: ISO time of the beginning of its making.
        seconds: That its making took.
        metrics: As its maker measured them; null where that gave no number.
        origin: Code, packages and machine: see `origin.origin`.
        files: ``bytes`` and ``sha256`` of each file, by its path in the folder.
    """

    key: str
    started: str
    seconds: float
    metrics: dict[str, Any]
    origin: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @property
    def n_bytes(self) -> int:
        """Of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def write(self, folder: Path) -> None:
        """Write it, with its own sha256."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        write_json(folder / MANIFEST, content | {"sha256": content_key(content)})

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest in a folder.

        Raises:
            DamagedError: It is missing or damaged.
            ManifestError: It is of another version.
        """
        try:
            return cls.from_bytes((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
        except FileNotFoundError:
            raise DamagedError(f"{folder / MANIFEST} is missing") from None

    @classmethod
    def from_bytes(cls, text: bytes, name: str) -> "Manifest":
        """As `read`, of a manifest that lies anywhere.

        Args:
            text: The file's content.
            name: What messages call it.
        """
        try:
            content = json.loads(text)
            noted = content.pop("sha256")
            is_whole = content["format"] == FORMAT and content_key(content) == noted
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DamagedError(f"{name} is no manifest") from error
        if not is_whole:
            raise DamagedError(f"{name} does not have the sha256 that it was written with")
        if content["format_version"] != FORMAT_VERSION:
            raise ManifestError(
                f"{name} is of format {content['format_version']}, but this version reads {FORMAT_VERSION}: use the "
                "version that wrote it, or another store"
            )
        del content["format"], content["format_version"]
        manifest = cls(**content)
        if strange := [path for path in manifest.files if not _is_inside(path)]:
            raise DamagedError(f"{name} names {strange[0]}, which is outside the artefact")
        return manifest


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """``bytes`` and ``sha256`` of every file below a folder but the manifest, by path."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in paths.items() if name != MANIFEST
    }


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as a manifest holds them: numbers of any library as plain ones, null for NaN and infinity.

    Raises:
        CanonicalError: One is no plain value, nor a mapping of such.
    """
    finite: dict[str, Any] = plain({name: _finite(value) for name, value in metrics.items()}, "metrics")
    return finite


def check(folder: Path, key: str) -> Manifest:
    """Read every byte of an artefact and hold it against its manifest, its spec and its name.

    Raises:
        DamagedError: What is wrong.
        ManifestError: It is of another version.
    """
    manifest = Manifest.read(folder)
    there = list_files(folder)
    for name in sorted(there.keys() | manifest.files.keys()):
        if name not in there:
            raise DamagedError(f"{folder / name} is missing")
        if name not in manifest.files:
            raise DamagedError(f"{folder / name} was not there when the artefact was made")
        if there[name] != manifest.files[name]:
            raise DamagedError(f"{folder / name} does not have the bytes that it was written with")
    if manifest.key != key or content_key(json.loads((folder / SPEC).read_bytes())) != key:
        raise DamagedError(f"{folder} holds another artefact than its name says")
    return manifest


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and re.search(r"[\\\0]", path) is None
