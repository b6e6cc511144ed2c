"""The sweeper benchmark: asks both the same, prints tables, writes JSON."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.sweepers.contenders import OURS, PEER, Contender
from benchmarks.sweepers.coverage import cover
from benchmarks.sweepers.timing import overhead, race, summarise
from dark_halo_scope.configuration import REPOSITORY

PEER_PYTHON = REPOSITORY / ".venv" / "peer" / "bin" / "python"
RESULTS = REPOSITORY / "benchmarks" / "results"
VERSIONS = "from importlib.metadata import version; import json, sys; "
VERSIONS += "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
LIBRARIES = ("hydra-core", "omegaconf", "optuna", "numpy", "sqlalchemy")


def run_from_command_line(description: str) -> None:
    """Parse the arguments, run, print the tables."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=PEER_PYTHON, help="its Python")
    parser.add_argument("--rounds", type=int, default=3, help="of the overhead")
    parser.add_argument("--listed", type=int, default=12, metavar="N", help="trials of a round of the overhead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the race")
    parser.add_argument("--trials", type=int, default=24, help="of a search in the race")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    asked = parser.parse_args()
    if not asked.peer.exists():
        parser.error(f"--peer {asked.peer} does not exist: make bench-search sets it up")
    console = Console(width=max(Console().width, 150))
    with tempfile.TemporaryDirectory() as folder:
        result = run(asked, Path(folder), console)
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / "search.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {path}")


def run(asked: argparse.Namespace, folder: Path, console: Console) -> dict[str, Any]:
    """Ask and time; returns what the JSON file holds."""
    ours, peer = Contender(OURS, Path(sys.executable)), Contender(PEER, asked.peer.absolute())
    result: dict[str, Any] = {
        "benchmark": "search",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {OURS: _versions(ours.python), PEER: _versions(peer.python, PEER)},
        "rounds": asked.rounds,
        "trials": asked.trials,
        "seeds": asked.seeds,
    }
    console.print("what each can do", style="dim")
    result["coverage"] = cover(ours, peer, folder / "coverage")
    console.print(_table("asked of both, and what came of it", result["coverage"]))
    console.print("what a trial costs beside its job", style="dim")
    result["overhead"] = overhead([ours, peer], folder, asked.rounds, asked.listed)
    console.print(_table(f"seconds a trial beside its job, medians of {asked.rounds} rounds", result["overhead"]))
    console.print("how soon each finds the best", style="dim")
    racing = [Contender(OURS, ours.python, prunes=True), ours, peer]
    result["race"] = race(racing, folder, asked.seeds, asked.trials)
    result["race_medians"] = summarise(result["race"])
    console.print(_table(f"searches of {asked.trials} trials, medians of seeds {asked.seeds}", result["race_medians"]))
    return result


def _table(title: str, lines: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", show_lines=isinstance(next(iter(lines[0].values())), str))
    columns = [key for key, value in lines[0].items() if not isinstance(value, list)]
    for column in columns:
        table.add_column(column, justify="left" if isinstance(lines[0][column], str) else "right")
    for line in lines:
        table.add_row(*(_told(line[column]) for column in columns))
    return table


def _told(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


def _versions(python: Path, *more: str) -> dict[str, str]:
    done = subprocess.run([python, "-c", VERSIONS, *LIBRARIES, *more], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
