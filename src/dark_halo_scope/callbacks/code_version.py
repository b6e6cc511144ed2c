"""Which code ran: package version, git commit, and the versions of what it stands on."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchvision", "torchmetrics", "lightning", "numpy", "scipy", "scikit-learn", "pyarrow", "wandb")


@cache
def code_version() -> dict[str, Any]:
    """Package version, git commit and whether tracked files differ from it; None for both outside a clone."""
    here = Path(__file__).parent
    # an installed copy may lie inside somebody else's repository: only a tracked file makes the commit ours
    tracked = _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is not None
    commit = _git(here, "rev-parse", "HEAD") if tracked else None
    changes = _git(here, "status", "--porcelain", "--untracked-files=no", ":/") if commit is not None else None
    return {
        "package": version("dark-halo-scope"),
        "commit": commit,
        "dirty": None if changes is None else bool(changes),
    }


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None
