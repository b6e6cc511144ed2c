"""What a sweep costs beside its trainings: ``python benchmarks/jobs.py [--jobs 1000] [--bases 40] [--folder FOLDER]``.

The shipped command composes, plans and runs jobs of one small tensor on a real store, then is given once more. Time,
core time, and the most memory that the driver and all processes together took (proportional set size) are
printed and written as JSON. Processes are looked at every half second; what one does after the last look is missed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
_LOOK_EVERY_S = 0.5


def main() -> None:
    """Run the benchmark from a checkout, wherever it is started."""
    sys.path[0] = str(REPOSITORY)
    from benchmarks.machine import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--bases", type=int, default=40, help="base models that the jobs share")
    parser.add_argument("--launcher", choices=("ray_graph", "serial_graph"), default="ray_graph")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "data" / "bench-jobs", help="emptied at the start")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    asked = parser.parse_args()
    shutil.rmtree(asked.folder, ignore_errors=True)
    result: dict[str, Any] = {
        "benchmark": "jobs",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "jobs": asked.jobs // asked.bases * asked.bases,
        "bases": asked.bases,
        "launcher": asked.launcher,
        "machine": machine(),
    }
    for name, more in (("plan", ["plan=true"]), ("run", []), ("again", [])):
        result[name] = _measure(_command(asked, more), asked.folder)
        print(f"{name}: {result[name]}", flush=True)
    result["cpu_ms_a_job"] = round(1e3 * result["run"]["cpu_seconds"] / result["jobs"], 1)
    result["lost"] = result["jobs"] - result["run"]["states"].get("done", 0)
    asked.results.mkdir(parents=True, exist_ok=True)
    path = asked.results / "jobs.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['cpu_ms_a_job']} ms of a core for each job, {result['lost']} lost; written to {path}")


def _command(asked: argparse.Namespace, more: list[str]) -> list[str]:
    folder = asked.folder.resolve()
    return [
        sys.executable,
        str(REPOSITORY / "train.py"),
        "-m",
        "experiment=participant_finetune",  # whose configs are composed; nothing of it is trained
        f"hydra/launcher={asked.launcher}",
        "hydra.launcher.workshop=benchmarks.tiny_jobs.TinyWorkshop",
        f"data.batch_size=range({asked.bases})",
        f"seed=range({asked.jobs // asked.bases})",
        f"paths.data_dir={folder}",
        f"paths.log_dir={folder}/logs",
        f"hydra.sweep.dir={folder}/sweep",
        *more,
    ]


def _measure(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a sweep to its end."""
    started = time.perf_counter()
    driver = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    peak_driver = peak_all = 0.0
    cpu_seconds: dict[int, float] = {}
    while driver.poll() is None:
        seen = {pid: _look(pid) for pid in (driver.pid, *_descendants(driver.pid))}
        cpu_seconds |= {pid: seconds for pid, (_, seconds) in seen.items() if seconds}
        peak_driver, peak_all = (
            max(peak_driver, seen[driver.pid][0]),
            max(peak_all, sum(mib for mib, _ in seen.values())),
        )
        time.sleep(_LOOK_EVERY_S)
    seconds = time.perf_counter() - started
    if driver.returncode:
        raise SystemExit(f"the sweep ended with exit code {driver.returncode}: see {folder}/sweep/failures.json")
    jobs = folder / "sweep" / "jobs.jsonl"
    states = [json.loads(line)["state"] for line in jobs.read_text().splitlines()] if jobs.exists() else []
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(cpu_seconds.values()), 1),
        "driver_peak_mib": round(peak_driver),
        "all_peak_mib": round(peak_all),
        "states": {state: states.count(state) for state in sorted(set(states))},
    }


def _descendants(pid: int) -> list[int]:
    try:
        text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [found for child in map(int, text.split()) for found in (child, *_descendants(child))]


def _look(pid: int) -> tuple[float, float]:
    """Proportional set size in MiB, and seconds of a core so far; zeros where the process is gone."""
    try:
        sizes = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    mib = next((int(line.split()[1]) / 1024 for line in sizes if line.startswith("Pss:")), 0.0)
    return mib, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
