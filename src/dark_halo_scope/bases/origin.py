"""The last step of making an artefact: what it is, where it comes from, and the hash of all its bytes."""

import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dark_halo_scope.bases.manifest import SPEC, Manifest, list_files, plain_metrics
from dark_halo_scope.callbacks.code_version import code_version, library_versions
from dark_halo_scope.files import write_atomically

_CODE_DIFF = "code.diff"


def seal(folder: Path, key: str, spec: str, metrics: Mapping[str, Any], started: datetime) -> None:
    """Write beside an artefact's files its spec, the changes of the code since its commit, and its manifest.

    Raises:
        CanonicalError: A metric is no plain value.
        WriteError: The disk does not take it.
    """
    write_atomically(folder / SPEC, f"{spec}\n".encode())
    if diff := code_diff():
        write_atomically(folder / _CODE_DIFF, diff)
    seconds = round((datetime.now(UTC) - started).total_seconds(), 3)
    start = started.isoformat(timespec="seconds")
    Manifest(key, start, seconds, plain_metrics(metrics), origin(), list_files(folder)).write(folder)


def origin() -> dict[str, Any]:
    """Code version, package versions and hardware, as this process sees them."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "code_version": code_version(),
        "versions": library_versions(),
        "hardware": {
            "host": socket.gethostname(),
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "gpus": gpus,
        },
    }


@cache
def code_diff() -> bytes:
    """What tracked files have that their commit has not; empty where that is nothing, or where there is no commit."""
    if not code_version()["dirty"]:
        return b""
    done = subprocess.run(
        ["git", "diff", "HEAD", "--no-color", "--no-ext-diff", ":/"],
        cwd=Path(__file__).parent,
        capture_output=True,
        check=True,
    )
    return done.stdout
