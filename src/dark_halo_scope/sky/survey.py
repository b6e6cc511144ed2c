"""Simulate a survey and write it as parquet in the stamp contract.

A survey is built in a hidden folder beside its final place and renamed when whole, so that a reader finds a finished
survey or none. Its files are renamed one by one as they are finished: a simulation that was killed goes on with the
next file.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dark_halo_scope.jobs import on_all_cores, only_process, stamps_bar
from dark_halo_scope.sky.catalogue import SCHEMA, to_table
from dark_halo_scope.sky.config import SIMULATOR_VERSION, SurveyConfig
from dark_halo_scope.sky.footprint import Region, draw_regions
from dark_halo_scope.sky.observe import observe_region
from dark_halo_scope.stamps.contract import STAMP_COLUMN

__all__ = ["SurveyConfig", "SurveyFolderError", "simulate_survey", "survey_is_complete"]

MANIFEST = "survey.json"
_BYTES_PER_STAMP = 48_000  # measured: 45.5 kB of stamp_npz, 0.2 kB of catalogue
_ROW_GROUP_STAMPS = 128


class SurveyFolderError(ValueError):
    """A folder that cannot take the survey asked for."""


def survey_is_complete(out: Path, config: SurveyConfig) -> bool:
    """Whether ``out`` holds the whole survey of this config, made by this version of the simulator."""
    manifest = Path(out) / MANIFEST
    if not manifest.is_file():
        return False
    found = json.loads(manifest.read_text())
    return found["digest"] == config.digest() and all(
        _size(Path(out) / name) == size for name, size in found["files"].items()
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def simulate_survey(config: SurveyConfig, out: Path, progress: bool = True) -> Path:
    """Simulate the survey into the folder ``out``; a finished one is left as it is.

    The bytes depend on the config alone, not on the number of threads nor on interruptions.

    Args:
        config: The survey.
        out: Folder to make. It must not exist, be empty, or hold this very survey.
        progress: Show a bar with the rate and the time left.

    Returns:
        ``out``.

    Raises:
        SurveyFolderError: ``out`` holds something else, or the disk has no room.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with only_process(out.with_name(f".{out.name}.lock")):  # a second process waits here and finds the survey finished
        if survey_is_complete(out, config):
            return out
        if out.exists() and any(out.iterdir()):
            raise SurveyFolderError(
                f"{out} holds another survey or other files; name another folder, or remove it to simulate anew"
            )
        partial = out.with_name(f".{out.name}.{config.digest()}.partial")
        partial.mkdir(exist_ok=True)
        _check_room(config, partial)
        _write_files(config, partial, progress)
        _write_manifest(config, partial)
        partial.replace(out)
    return out


def _check_room(config: SurveyConfig, partial: Path) -> None:
    written = sum(file.stat().st_size for file in partial.glob("*.parquet"))
    needed = config.number_of_stamps * _BYTES_PER_STAMP - written
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise SurveyFolderError(
            f"the survey needs {needed / 1e9:.1f} GB and {partial.parent} has {free / 1e9:.1f} GB free; "
            "name a folder on another disk, or simulate fewer regions"
        )


def _write_files(config: SurveyConfig, folder: Path, progress: bool) -> None:
    """Write every file that is not there yet, one per thread at a time."""
    regions, step = draw_regions(config), config.regions_per_file
    batches = [regions[start : start + step] for start in range(0, len(regions), step)]
    total = config.number_of_stamps
    with stamps_bar("simulating a survey", total, show=progress) as advance, _one_torch_thread():

        def write(index: int) -> None:
            file = folder / f"stamps-{index:05d}-of-{len(batches):05d}.parquet"
            if file.exists():
                advance(len(batches[index]) * config.stamps_per_region)
                return
            tables = []
            for region in batches[index]:
                tables.append(_region_table(config, region))
                advance(config.stamps_per_region)
            _write_parquet(tables, file)

        for _ in on_all_cores(write, range(len(batches))):
            pass  # the bar moves on with every region


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """The pool's threads share the cores between them; torch's own threads on top would only fight for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _region_table(config: SurveyConfig, region: Region) -> pa.Table:
    observation = observe_region(config, region)
    return to_table(observation.images, observation.catalogue)


def _write_parquet(tables: Sequence[pa.Table], file: Path) -> None:
    """Write a file under a temporary name and rename it; stamps need no dictionary and no statistics."""
    plain = [name for name in SCHEMA.names if name != STAMP_COLUMN]
    temporary = file.with_suffix(".tmp")
    pq.write_table(
        pa.concat_tables(tables),
        temporary,
        row_group_size=_ROW_GROUP_STAMPS,
        use_dictionary=[name for name in plain if pa.types.is_string(SCHEMA.field(name).type)],
        write_statistics=plain,
    )
    temporary.replace(file)


def _write_manifest(config: SurveyConfig, folder: Path) -> None:
    manifest = {
        "simulator_version": SIMULATOR_VERSION,
        "digest": config.digest(),
        "config": config.as_dict(),
        "stamps": config.number_of_stamps,
        "files": {file.name: file.stat().st_size for file in sorted(folder.glob("*.parquet"))},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
