"""Make a training store of a raw dataset.

The store is built in a hidden folder beside its final place, named after all that its bytes depend on, and renamed when
whole. Chunks and shards are put in place one by one as they are finished, so that a preparation that was killed goes on
where it was, and ends in the same bytes as one that was not.
"""

import errno
import glob
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from dark_halo_scope.files import WriteError, sha256, write_atomically, write_json
from dark_halo_scope.jobs import Advance, in_turn, on_all_cores, only_process, stamps_bar
from dark_halo_scope.stamps.contract import CLASSES, SPLITS
from dark_halo_scope.stamps.decoder import QUARANTINED
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.memory import machine_memory_bytes
from dark_halo_scope.stamps.quarantine import Quarantine, QuarantinePass, Record
from dark_halo_scope.stamps.store import layout, precision
from dark_halo_scope.stamps.store.gather import Gather
from dark_halo_scope.stamps.store.manifest import MANIFEST, StoreManifest
from dark_halo_scope.stamps.store.options import StoreError, StoreOptions
from dark_halo_scope.stamps.store.scatter import Scatter
from dark_halo_scope.stamps.store.shuffle import plan_shuffle

QUARANTINE_FILE = "quarantine.jsonl"
_DISK_TAKES_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_METADATA_BYTES = 1_000  # of a stamp, generously: seen 250 with 40 columns
_SHARE_OF_MEMORY = 0.25  # for shards that are put together; what is written and read meanwhile is in the page cache
_BLOCK_BYTES = 512  # of which `os.stat_result.st_blocks` is a number

log = logging.getLogger(__name__)


def prepare(raw: str, out: Path, options: StoreOptions, *, progress: bool = True) -> StoreManifest:
    """Write the training store of the dataset ``raw`` into the folder ``out``; a finished one is left as it is.

    Args:
        raw: Folder, file or URI: see `StampFiles.find`.
        out: Folder to make. It must not exist, be empty, or hold this very store.
        options: Settings.
        progress: Show bars with the rate and the time left.

    Raises:
        ContractError: The raw dataset cannot be used.
        QuarantineLimitError: Too many of its stamps cannot.
        StoreError: ``out`` holds something else, or the disk has no room.
    """
    out = out.absolute()
    index = StampIndex.build(raw, **options.index_checks)
    if index.store is not None:
        raise StoreError(f"{raw} is a training store already; prepare from the raw dataset ({index.store.raw_root})")
    if index.files.is_local and out.is_relative_to(Path(raw).expanduser().absolute()):
        raise StoreError(f"{out} lies in the raw dataset, whose data its files would become; name a folder beside it")
    digest = options.digest(index.fingerprint)
    out.parent.mkdir(parents=True, exist_ok=True)
    with only_process(out.with_name(f".{out.name}.lock")):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            return _finished(out, digest)
        folder = out.with_name(f".{out.name}.{digest[:16]}.partial")
        work = folder / "_work"
        _name_leftovers(out, folder)
        try:
            work.mkdir(parents=True, exist_ok=True)
            if not (folder / MANIFEST).exists():
                _build(index, options, folder, work, progress)
            shutil.rmtree(work)
        except (OSError, WriteError) as error:
            if isinstance(error, OSError) and error.errno not in _DISK_TAKES_NO_MORE:
                raise
            raise StoreError(
                f"the disk of {folder} is full ({error}); what is finished stays there: make room and give the command "
                "again, which goes on from there"
            ) from error
        folder.replace(out)
    return read_manifest(out)


def read_manifest(store: Path) -> StoreManifest:
    """The manifest of a finished store.

    Raises:
        StoreError: When there is none.
        ContractError: When it cannot be read.
    """
    path = store / MANIFEST
    if not path.is_file():
        raise StoreError(f"{store} is no training store (it has no {MANIFEST}); make one with halo prepare")
    return StoreManifest.from_bytes(path.read_bytes(), str(path))


def _finished(out: Path, digest: str) -> StoreManifest:
    if out.is_dir() and (out / MANIFEST).is_file() and (manifest := read_manifest(out)).digest == digest:
        return manifest
    raise StoreError(
        f"{out} holds other files, or a store of other data or other settings; name another folder, or remove it"
    )


def _name_leftovers(out: Path, folder: Path) -> None:
    """Warn of unfinished stores beside ``folder``: of other data, other settings or another version, and never used."""
    for other in sorted(out.parent.glob(f".{glob.escape(out.name)}.*.partial")):
        if other != folder:
            size = sum(file.stat().st_size for file in other.rglob("*") if file.is_file())
            log.warning(
                "%s (%.3g GB) is an unfinished store of other data or other settings; remove it unless it is to be "
                "finished",
                other,
                size / 1e9,
            )


def _build(index: StampIndex, options: StoreOptions, folder: Path, work: Path, progress: bool) -> None:
    """Everything but the last rename; what is there already is kept."""
    plan = plan_shuffle(index, seed=options.seed, shard_stamps=options.shard_stamps)
    schema = layout.metadata_schema(index, options.precision)
    at_a_time = shards_at_a_time(options, machine_memory_bytes())
    _check_room(plan.n_stamps, options, folder, at_a_time)
    scatter = Scatter(index, plan, options, schema, work)
    records, summary = _scatter_all(scatter, progress)
    gather = Gather.over(scatter, folder)
    _gather_all(gather, at_a_time, progress)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    write_atomically(folder / QUARANTINE_FILE, lines.encode())
    write_json(folder / MANIFEST, _manifest(index, gather, summary).to_dict())


def shards_at_a_time(options: StoreOptions, memory_bytes: int) -> int:
    """Shards to put together side by side: one a core, but no more than fit into a share of the machine's memory."""
    fit = int(_SHARE_OF_MEMORY * memory_bytes / (options.shard_stamps * _stamp_bytes(options)))
    return max(1, min(fit, len(os.sched_getaffinity(0))))


def _stamp_bytes(options: StoreOptions) -> int:
    return precision.stored_bytes(options.precision) + _METADATA_BYTES


def _check_room(n_stamps: int, options: StoreOptions, folder: Path, at_a_time: int) -> None:
    """Refuse to begin without room for the store and for the shards that are written before a chunk's room is free."""
    side_by_side = min(n_stamps, at_a_time * options.shard_stamps)
    # The blocks of what is unfinished are free again once it is begun anew; its length, with holes, would be too much.
    taken = sum(file.stat().st_blocks * _BLOCK_BYTES for file in folder.rglob("*") if file.is_file())
    needed = (n_stamps + side_by_side) * _stamp_bytes(options) - taken
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"the store needs {needed / 1e9:.3g} GB and the disk of {folder.parent} has {free / 1e9:.3g} GB free; name "
            "a folder on another disk, or choose precision=float16 if it is not chosen yet"
        )


def _scatter_all(scatter: Scatter, progress: bool) -> tuple[list[Record], dict[str, Any]]:
    """Set down every chunk and judge the bad rows: their records by row, and the counts."""
    plan, options = scatter.plan, scatter.options
    quarantine = Quarantine(scatter.index, scatter.folder, limit=options.quarantine_limit)
    records: dict[int, Record] = {}

    hopeless = plan.n_stamps * options.quarantine_limit + len(SPLITS)  # more than all splits together may have

    def note(chunk: int, advance: Advance) -> None:
        records.update((fault.row, quarantine.describe(fault)) for fault in scatter.faults(chunk))
        advance(len(plan.chunk_rows(chunk)))

    with stamps_bar("reading", plan.n_stamps, show=progress) as advance:
        done = [chunk for chunk in range(plan.n_chunks) if scatter.is_done(chunk)]
        for chunk in done:
            note(chunk, advance)
        for chunk in on_all_cores(scatter.run, sorted(set(range(plan.n_chunks)) - set(done))):
            note(chunk, advance)
            if sum(record["action"] == QUARANTINED for record in records.values()) > hopeless:
                break
    in_order = [records[row] for row in sorted(records)]
    for split in SPLITS:
        rows = scatter.index.rows(split)
        review = QuarantinePass(quarantine, split, len(rows))
        review.add(scatter.index.label[rows], [record for record in in_order if record["split"] == split])
        review.close()
    return in_order, quarantine.summary(in_order)


def _gather_all(gather: Gather, at_a_time: int, progress: bool) -> None:
    """Write every shard, the last first, and give back the room of the chunks from the end."""
    shards = range(len(gather.plan.shard_names))
    left = [shard for shard in reversed(shards) if not gather.is_done(shard)]
    with stamps_bar("writing", sum(map(gather.n_stamps, shards)), show=progress) as advance:
        advance(sum(gather.n_stamps(shard) for shard in set(shards) - set(left)))
        for shard in in_turn(gather.run, left, at_a_time):
            gather.free_from(shard)  # all after it are done
            advance(gather.n_stamps(shard))


def _manifest(index: StampIndex, gather: Gather, summary: dict[str, Any]) -> StoreManifest:
    options = gather.options
    notes = {name: gather.note(shard) for shard, name in enumerate(gather.plan.shard_names)}
    files = {name: note["file"] for name, note in notes.items()}
    n_stamps = sum(entry["rows"] for entry in files.values())
    faults = gather.folder / QUARANTINE_FILE
    n_faults = sum(1 for _ in faults.open(encoding="utf-8"))
    files[QUARANTINE_FILE] = {"rows": n_faults, "bytes": faults.stat().st_size, "sha256": sha256(faults)}
    error = None
    if options.precision == "float16":
        error = {
            "max": max((note["max"] for note in notes.values() if "max" in note), default=0.0),
            "mean": sum(note.get("sum", 0.0) for note in notes.values()) / max(1, n_stamps),
            "limit": options.max_float16_error,
        }
    return StoreManifest(
        raw_root=index.files.root,
        raw_fingerprint=index.fingerprint,
        digest=options.digest(index.fingerprint),
        settings=options.settings(),
        pixels=precision.described(options.precision),
        stamps=_kept(summary),
        faults=summary,
        float16_error=error,
        files=files,
    )


def _kept(summary: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Stamps in the store by split and class: the rows in use less the quarantined."""
    kept: dict[str, dict[str, int]] = {split: dict(counts) for split, counts in summary["rows"].items()}
    for counts in summary[QUARANTINED].values():
        for split in SPLITS:
            for name in CLASSES:
                kept[split][name] -= counts[split][name]
    return kept
