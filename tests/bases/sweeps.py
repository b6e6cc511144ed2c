"""Real sweeps of toys, and the processes that they start."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dark_halo_scope.configuration import REPOSITORY

TOYS = "hydra.launcher.workshop=tests.bases.toys.ToyWorkshop"


def command(folder: Path, *overrides: str, launcher: str = "ray_graph") -> list[str]:
    """A sweep that keeps all it leaves below ``folder``: stores in ``data``, the rest in ``sweep``."""
    where = [f"paths.data_dir={folder}/data", f"paths.log_dir={folder}/logs", f"hydra.sweep.dir={folder}/sweep"]
    return [sys.executable, "-m", "tests.bases.app", "-m", f"hydra/launcher={launcher}", TOYS, *where, *overrides]


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start a sweep in a session of its own, as a terminal would."""
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@contextmanager
def ray_folder() -> Iterator[str]:
    """For Ray's sessions, with a short name, as that of a socket must be."""
    folder = tempfile.mkdtemp(dir="/tmp")
    yield folder
    shutil.rmtree(folder)


def wait_for(condition, timeout_s: float = 120, driver: subprocess.Popen[str] | None = None):
    """Return what the condition gives once it gives something; of a driver it may take long, while that one lives."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if driver is None:
            assert time.monotonic() < deadline, "nothing came of it"
        else:
            assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)
    return found


def descendants(pid: int) -> set[int]:
    """All processes that a living process has started, directly or not."""
    children: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _state_and_parent(int(path.name)):
            children.setdefault(int(fields[1]), set()).add(int(path.name))
    found, new = set(), {pid}
    while new:
        new = {child for parent in new for child in children.get(parent, ())}
        found |= new
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    fields = _state_and_parent(pid)
    return bool(fields) and fields[0] != "Z"


def is_raylet(pid: int) -> bool:
    """Whether a process is the one that Ray keeps on each machine."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "raylet"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _state_and_parent(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return []
