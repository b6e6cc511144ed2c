"""Writing into the run folder, with an error that says what to do when the disk does not take it."""

import json
import shutil
from pathlib import Path
from typing import Any

from dark_halo_scope.evaluation.files import write_atomically


class RunFolderError(ValueError):
    """The run folder does not take a file: its disk is full, read-only or gone."""


def write_run_file(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step; on any failure the file that was there stays as it was."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path} ({len(content) / 2**20:.1f} MiB, {_free_mib(path)} MiB free on its disk): "
            f"{error.strerror}; what was there before is untouched: make room there, then resume this run"
        ) from error


def write_run_json(path: Path, content: dict[str, Any]) -> None:
    """Write standard JSON (NaN and infinity are refused) as `write_run_file` does."""
    write_run_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _free_mib(path: Path) -> str:
    existing = next(folder for folder in path.parents if folder.exists())
    return f"{shutil.disk_usage(existing).free / 2**20:.1f}"
