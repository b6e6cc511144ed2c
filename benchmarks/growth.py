"""The scale benchmark: makes datasets of growing length, measures each in processes of its own, writes the figures."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.contender import BATCH_SIZE
from benchmarks.machine import machine, versions
from benchmarks.source import make_source, training_files

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"

_ROWS_PER_FILE = 10_000
_ROW_GROUP = 640
_DISTINCT_STAMPS = 512
_COLUMNS = {  # of the table: name in the JSON, heading, format
    "build_s": ("index built s", "{:.2f}"),
    "build_peak_anonymous_mib": ("building MiB", "{:,.0f}"),
    "load_s": ("index loaded s", "{:.3f}"),
    "index_bytes_per_row": ("index B/row", "{:.2f}"),
    "first_batch_s": ("first batch s", "{:.2f}"),
    "before_stream_mib": ("before streaming MiB", "{:,.0f}"),
    "peak_anonymous_mib": ("streaming MiB", "{:,.0f}"),
    "peak_resident_mib": ("with mapped pages MiB", "{:,.0f}"),
}


def run_from_command_line(description: str) -> None:
    """Parse the arguments, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--batches", type=int, default=100, help=f"of {BATCH_SIZE} stamps, streamed at each size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data" / "bench-scale", help="kept between runs")
    parser.add_argument("--name", default="scale", help="of the JSON file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    asked = parser.parse_args()
    console = Console(width=max(Console().width, 140))
    asked.data.mkdir(parents=True, exist_ok=True)
    source = _make_file(asked.data.resolve())
    result: dict[str, Any] = {
        "benchmark": "scale",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "batch_size": BATCH_SIZE,
        "batches": asked.batches,
        "threads": asked.threads,
        "machine": machine(),
        "versions": versions(),
        "sizes": [],
    }
    for rows in asked.rows:
        console.print(f"{rows:,} rows", style="dim")
        result["sizes"].append(_measure(source, rows, asked))
    console.print(_table(result))
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / f"{asked.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {path}")


def _make_file(folder: Path) -> Path:
    """A folder with the one training file and small val and test files."""
    out = folder / "source"
    if not out.exists():
        partial = folder / "source.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        small = make_source(folder, _DISTINCT_STAMPS)
        table = pq.read_table(training_files(small)[0])
        table = table.take(np.arange(_ROWS_PER_FILE) % _DISTINCT_STAMPS)
        hosts = table.schema.get_field_index("host_id")
        table = table.set_column(hosts, "host_id", pa.array(np.arange(_ROWS_PER_FILE) + (1 << 20)))
        # Without a dictionary, in which every stamp would be found twenty times.
        pq.write_table(table, partial / "train.parquet", row_group_size=_ROW_GROUP, use_dictionary=False)
        for split in ("val", "test"):
            shutil.copy(small / f"{split}.parquet", partial)
        partial.rename(out)
    return out


def _measure(source: Path, rows: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Build, then load and stream, in two processes, on a folder of links."""
    folder = source.with_name(f"links-{rows}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    n_files = max(1, rows // _ROWS_PER_FILE)
    for number in range(n_files):
        (folder / f"train-{number:05d}.parquet").symlink_to(source / "train.parquet")
    for split in ("val", "test"):
        (folder / f"{split}.parquet").symlink_to(source / f"{split}.parquet")
    kept = source.with_name(f"index-{rows}")
    shutil.rmtree(kept, ignore_errors=True)
    entry: dict[str, Any] = {"rows": n_files * _ROWS_PER_FILE, "files": n_files}
    for job in ("build", "stream"):
        command = [sys.executable, "-m", "benchmarks.footprint", job, "--root", str(folder), "--index", str(kept)]
        command += ["--batches", str(asked.batches), "--threads", str(asked.threads)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        entry |= json.loads(done.stdout)
    entry["index_bytes_per_row"] = sum(file.stat().st_size for file in kept.glob("*.index")) / entry["rows"]
    return entry


def _table(result: dict[str, Any]) -> Table:
    where = result["machine"]
    table = Table(
        title=f"{where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB, Python {where['python']}, "
        f"torch {result['versions']['torch']}, load {where['load_average_1min']}"
    )
    table.add_column("rows", justify="right")
    for heading, _ in _COLUMNS.values():
        table.add_column(heading, justify="right")
    for entry in result["sizes"]:
        table.add_row(f"{entry['rows']:,}", *(form.format(entry[name]) for name, (_, form) in _COLUMNS.items()))
    return table
