"""The loader benchmark: prepares every contender, lets them take turns, and writes down what they did."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contender import BATCH_SIZE, PEERS
from benchmarks.machine import machine, versions
from benchmarks.ratios import Ratio, ratios
from benchmarks.source import make_source

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"

_TIMEOUT_S = 1800
_TABLE_WIDTH = 140

Entry = dict[str, Any]


def run_from_command_line(description: str) -> None:
    """Parse the arguments, run, print the table; exit code 1 when a contender failed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=int, default=20_480)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="worker processes, or threads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one measurement")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="default: all")
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "bench-loader", help="kept between runs")
    parser.add_argument("--name", default="loader", help="of the JSON file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    asked = parser.parse_args()
    if asked.stamps < 2 * BATCH_SIZE:
        parser.error(f"--stamps {asked.stamps}: at least two batches of {BATCH_SIZE} are needed to time one")
    console = Console(width=max(Console().width, _TABLE_WIDTH))
    result = run(asked, console)
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / f"{asked.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {path}")
    sys.exit(any("failed" in entry for entry in result["contenders"]))


def run(asked: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Convert, check and time; returns what the JSON file holds."""
    console.print(f"{asked.stamps:,} stamps in {asked.data}")
    asked.data.mkdir(parents=True, exist_ok=True)
    source = make_source(asked.data.resolve(), asked.stamps)
    result: dict[str, Any] = {
        "benchmark": "loader",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "stamps": asked.stamps,
        "batch_size": BATCH_SIZE,
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "machine": machine(),
        "versions": versions(),
    }
    entries = [entry for peer in asked.only for entry in _prepared(peer, source, asked.workers, console)]
    for round_number in range(asked.rounds):
        for entry in entries:
            if "samples" in entry:
                console.print(f"round {round_number + 1}/{asked.rounds}: {_full_name(entry)}", style="dim")
                _measure(entry, source, asked)
    _summarise(entries)
    most = max(asked.workers)
    for kind in (*map(str, asked.workers), "cold"):
        title = (
            f"{most} worker(s) or thread(s), page cache cold" if kind == "cold" else f"{kind} worker(s) or thread(s)"
        )
        console.print(_table(title, entries, kind, result))
    result["ratios"] = ratios(entries)
    console.print(_ratio_table(result["ratios"]))
    result["contenders"] = entries
    return result


def _prepared(peer: str, source: Path, workers: list[int], console: Console) -> list[Entry]:
    """The contenders of a peer, converted and their pixels checked, or why they cannot take part."""
    console.print(f"preparing {peer}", style="dim")
    prepared = _child("prepare", peer, source, workers)
    entries: list[Entry] = prepared.get("contenders", [{"name": peer, **prepared}])
    for entry in entries:
        entry["peer"] = peer
        if "failed" not in entry and "unavailable" not in entry:
            entry["samples"] = {kind: [] for kind in (*map(str, workers), "cold")}
    return entries


def _measure(entry: Entry, source: Path, asked: argparse.Namespace) -> None:
    arguments = ["--name", entry["name"], "--precision", entry["precision"], "--seconds", str(asked.seconds)]
    samples = _child("time", entry["peer"], source, asked.workers, arguments)
    if "failed" in samples:
        entry["failed"] = samples["failed"]
        return
    for kind, sample in samples.items():
        entry["samples"][kind].append(sample)


def _child(job: str, peer: str, source: Path, workers: list[int], arguments: Sequence[str] = ()) -> dict[str, Any]:
    """The result of `benchmarks.measure` in a process of its own, or how it failed."""
    out = source.with_name(f"{source.name}.{job}.json")
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.measure", job, "--peer", peer, "--source", str(source)]
    command += ["--workers", *map(str, workers), "--out", str(out), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"{job} did not end within {_TIMEOUT_S} s"}
    if done.returncode or not out.exists():
        last_words = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
        return {"failed": f"{job}: {last_words[0]} (exit code {done.returncode})"}
    result: dict[str, Any] = json.loads(out.read_text())
    out.unlink()
    return result


def _summarise(entries: list[Entry]) -> None:
    """Medians and range of each kind of sample."""
    for entry in entries:
        entry["summary"] = {
            kind: {
                "stamps_per_s": statistics.median(rates := [sample["stamps_per_s"] for sample in samples]),
                "min": min(rates),
                "max": max(rates),
                **{
                    key: statistics.median(sample[key] for sample in samples)
                    for key in ("cpu_us_per_stamp", "peak_rss_mib", "first_batch_s")
                },
            }
            for kind, samples in entry.get("samples", {}).items()
            if samples
        }


def _full_name(entry: Entry) -> str:
    return f"{entry['name']}, {entry['precision']}"


def _table(title: str, entries: list[Entry], kind: str, result: dict[str, Any]) -> Table:
    where = result["machine"]
    table = Table(
        title=f"{title}: {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, "
        f"Python {where['python']}, torch {result['versions']['torch']}, load {where['load_average_1min']}"
    )
    for heading in ("", "pixels", "stamps/s", "min - max", "CPU us/stamp", "peak MiB", "first batch s"):
        table.add_column(heading, justify="left" if heading in ("", "pixels") else "right")
    for entry in entries:
        told = entry.get("failed") or entry.get("unavailable")
        row = entry["summary"].get(kind)
        if told or row is None:
            table.add_row(entry["name"], f"[red]{'failed' if 'failed' in entry else 'not installed'}: {told}[/red]")
            continue
        table.add_row(
            entry["name"],
            entry["precision"],
            f"{row['stamps_per_s']:,.0f}",
            f"{row['min']:,.0f} - {row['max']:,.0f}",
            f"{row['cpu_us_per_stamp']:.1f}",
            f"{row['peak_rss_mib']:,.0f}",
            f"{row['first_batch_s']:.2f}",
        )
    return table


def _ratio_table(found: list[Ratio]) -> Table:
    table = Table(title="ratios of the medians")
    for heading in ("", "over", "workers", "ratio"):
        table.add_column(heading, justify="right" if heading == "ratio" else "left")
    for ratio in found:
        table.add_row(ratio["of"], ratio["over"], ratio["workers"], f"{ratio['ratio']:.2f}")
    return table
