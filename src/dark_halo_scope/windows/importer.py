"""A folder of CSV recordings to a dataset of windows in the contract.

The dataset is built in a hidden folder beside its final place and renamed when it is whole and found to keep the
contract. Its files are finished one by one, so that an interrupted import goes on with the next.
"""

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dark_halo_scope.files import write_json
from dark_halo_scope.jobs import only_process, stamps_bar
from dark_halo_scope.windows.contract import WindowLayout
from dark_halo_scope.windows.cutting import Cutting, cut
from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.recordings import RecordingError, RecordingFormat, read_recordings, signal_columns
from dark_halo_scope.windows.write import window_table, write_windows

MANIFEST = "import.json"
_NOTE_KEY = b"import"


@dataclass(frozen=True)
class ImportOptions(RecordingFormat, Cutting):
    """How recordings are written, and how they become windows."""

    def __post_init__(self) -> None:
        RecordingFormat.__post_init__(self)
        Cutting.__post_init__(self)


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        participants: Their number.
        sessions: Likewise.
        windows: By label.
        told: How many windows, samples, gaps and parts were dealt with in which way.
    """

    participants: int
    sessions: int
    windows: dict[str, int]
    told: dict[str, int]


def import_windows(folder: Path, out: Path, options: ImportOptions, *, progress: bool = True) -> Imported:
    """Cut all CSV files below ``folder`` into windows, in the new folder ``out``.

    Raises:
        RecordingError: When a file cannot be read as asked, or recordings contradict each other.
        ContractError: When the windows make no dataset, for instance of one class.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.csv"))}
    if not files:
        raise RecordingError(f"{folder} holds no .csv file; give the folder that holds the recordings")
    out.parent.mkdir(parents=True, exist_ok=True)
    with only_process(out.with_name(f".{out.name}.lock")):
        if out.exists():
            raise RecordingError(f"{out} is there already; name another folder, or remove it")
        if options.channels is None:
            options = replace(options, channels=signal_columns(next(iter(files.values())), options))
        partial = _partial_folder(out, files, options)
        with stamps_bar("cutting recordings", len(files), show=progress, unit="files") as advance:
            made = [partial / f"recording-{number:05d}.parquet" for number in range(len(files))]
            for file, (name, path) in zip(made, files.items(), strict=True):
                if not file.exists():
                    _import_file(path, name, file, options)
                advance(1)
        told = _look_over(made, options)
        index = WindowIndex.scan(str(partial))
        write_json(partial / MANIFEST, {"options": asdict(options), "told": told, "fingerprint": index.fingerprint})
        partial.replace(out)
    counts = np.bincount(index.label, minlength=len(index.classes)).tolist()
    return Imported(len(index.participants), len(index.sessions), dict(zip(index.classes, counts, strict=True)), told)


def _partial_folder(out: Path, files: dict[str, Path], options: ImportOptions) -> Path:
    """Where the dataset is built: a folder of these files and options alone; others, never finished, are removed."""
    listed = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files.items()]
    digest = hashlib.sha256(json.dumps([listed, asdict(options)]).encode()).hexdigest()[:16]
    partial = out.with_name(f".{out.name}.{digest}.partial")
    for other in out.parent.glob(f".{out.name}.*.partial"):
        if other != partial:
            shutil.rmtree(other)
    partial.mkdir(exist_ok=True)
    return partial


def _import_file(path: Path, name: str, made: Path, options: ImportOptions) -> None:
    """Write the windows of one CSV file; its name, and what was left out of it, are in the metadata."""
    assert options.channels is not None
    layout = WindowLayout(tuple(options.channels), options.window_size, options.sampling_rate_hz)
    tables, told = [layout.schema().empty_table()], Counter[str]()
    for recording in read_recordings(path, name, options):
        windows = cut(recording, options)
        told += windows.told
        tables.append(
            window_table(
                layout,
                windows.windows,
                participant=recording.participant,
                session=recording.session,
                time=windows.time,
                label=windows.label,
            )
        )
    table = pa.concat_tables(tables)
    note = json.dumps({"recording": name, "told": told}).encode()
    write_windows(made, table.replace_schema_metadata({**table.schema.metadata, _NOTE_KEY: note}))


def _look_over(made: list[Path], options: ImportOptions) -> dict[str, int]:
    """What was told of all files; refuses recordings of one session that overlap in time."""
    told: Counter[str] = Counter()
    spans: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for path in made:
        table = pq.read_table(path, columns=["session", "time"])
        note = json.loads(table.schema.metadata[_NOTE_KEY])
        told += Counter(note["told"])
        for row in table.group_by("session").aggregate([("time", "min"), ("time", "max")]).to_pylist():
            spans[row["session"]].append((row["time_min"], row["time_max"], note["recording"]))
    for session, found in spans.items():
        for (_, end, name), (start, _, later) in pairwise(sorted(found)):
            if start < end + options.window_size / options.sampling_rate_hz:
                raise RecordingError(
                    f"{name} and {later} both hold session {session} at {start:g} s; give them different sessions by "
                    "file_pattern= or session_column="
                )
    return dict(sorted(told.items()))
