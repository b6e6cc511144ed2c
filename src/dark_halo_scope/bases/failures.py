"""What went wrong in a sweep, exactly: what failed, why, what that blocks, and the command that tries it alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from dark_halo_scope.bases.work import Label, command_of
from dark_halo_scope.files import write_json

FAILURES = "failures.json"
_N_SHOWN = 20


@dataclass(frozen=True)
class Failure:
    """One thing that went wrong.

    Attributes:
        what: ``base``: a base model; ``job``: a fine-tuning; ``config``: a command line that no job can be made of;
            ``blocked``: a fine-tuning whose base model is missing.
        key: Of what failed; None for a command line.
        base: Key of the base model, if there is one.
        labels: Of the fine-tuning, or of the first that needs the base model.
        overrides: Its command line.
        error: Why, in a sentence.
        trace: Where in the code; empty where nothing was raised.
    """

    what: Literal["base", "job", "config", "blocked"]
    key: str | None
    base: str | None
    labels: Mapping[str, Label]
    overrides: tuple[str, ...]
    error: str
    trace: str = ""

    @property
    def retry(self) -> str:
        """The command that tries it alone."""
        return command_of(self.overrides)

    @property
    def name(self) -> str:
        """In words."""
        if self.what == "base":
            return f"base model {str(self.key)[:12]}"
        told = ", ".join(f"{name} {value}" for name, value in self.labels.items() if value is not None)
        return told or "command line"


def write_failures(failures: Sequence[Failure], command: str, folder: Path) -> None:
    """Write all of them, or that there is none, into a sweep's folder.

    Args:
        failures: Of the sweep.
        command: The one that goes on with all that is not done.
        folder: Of the sweep.
    """
    told: list[dict[str, Any]] = [asdict(failure) | {"retry": failure.retry} for failure in failures]
    content = {
        "command": command,
        "failed": [entry for entry in told if entry["what"] != "blocked"],
        "blocked": [entry for entry in told if entry["what"] == "blocked"],
    }
    write_json(folder / FAILURES, content)


def show_failures(failures: Sequence[Failure], folder: Path, console: Console) -> None:
    """Print what failed, each with the number of jobs that it blocks and the command that tries it alone."""
    failed = [failure for failure in failures if failure.what != "blocked"]
    blocked = [failure for failure in failures if failure.what == "blocked"]
    for failure in failed[:_N_SHOWN]:
        n_blocked = sum(other.base == failure.key for other in blocked) if failure.what == "base" else 0
        blocks = f", blocks {n_blocked:,} {'job' if n_blocked == 1 else 'jobs'}" if n_blocked else ""
        _print(failure, f"failed: {failure.name}{blocks}", "red", console)
    known = {failure.key for failure in failed if failure.what == "base"}
    missing = [failure for failure in blocked if failure.base not in known]
    for failure in missing[:_N_SHOWN]:
        _print(failure, f"blocked: {failure.name}", "yellow", console)
    n_more = max(0, len(failed) - _N_SHOWN) + max(0, len(missing) - _N_SHOWN)
    if n_more:
        console.print(f"and {n_more:,} more")
    console.print(f"all of them: {folder / FAILURES}", markup=False, soft_wrap=True)


def _print(failure: Failure, headline: str, style: str, console: Console) -> None:
    console.print(Text(headline, style=style), soft_wrap=True)
    console.print(Text(f"  {failure.error}"), soft_wrap=True)
    console.print(Text(f"  {failure.retry}", style="dim"), soft_wrap=True)
