"""A simulated study: participants who do the same activities, each in their own way, written in the contract.

It is small on purpose (seconds to make, 26 MB), and made so that customising pays: see `gait` for how people differ,
and configs/participants/default.yaml for what that does to a classifier.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dark_halo_scope.files import write_json
from dark_halo_scope.jobs import on_all_cores, only_process
from dark_halo_scope.windows.contract import WindowLayout
from dark_halo_scope.windows.gait import (
    ACTIVITIES,
    CHANNELS,
    SAMPLING_RATE_HZ,
    Person,
    draw_person,
    draw_session,
    record_bout,
)
from dark_halo_scope.windows.write import window_table, write_windows

SIMULATOR_VERSION = 1  # raise it when the same config gives other windows: finished studies are then made anew
MANIFEST = "study.json"
_DAY_S = 86_400.0
_PAUSE_S = 10.0  # between bouts


class StudyError(ValueError):
    """A study that cannot be simulated as asked."""


@dataclass(frozen=True)
class StudyConfig:
    """A simulated study.

    Attributes:
        seed: Two studies of one config and seed hold the same bytes.
        participants: Their number.
        sessions: Of each participant, a day apart.
        bouts: Of each activity in a session; the activities take turns.
        windows_per_bout: One after the other, without overlap.
        window_size: Samples of a window at 50 Hz.
        variety: How far people differ; 0: not at all.
    """

    seed: int
    participants: int
    sessions: int
    bouts: int
    windows_per_bout: int
    window_size: int
    variety: float

    def __post_init__(self) -> None:
        for name in ("participants", "sessions", "bouts", "windows_per_bout", "window_size"):
            if getattr(self, name) < 1:
                raise StudyError(f"participants.{name}={getattr(self, name)} must be at least 1")
        if self.seed < 0 or not 0 <= self.variety <= 1:
            raise StudyError(
                f"participants.seed={self.seed} must not be negative, and participants.variety={self.variety:g} must "
                "lie in [0, 1]"
            )

    @property
    def number_of_windows(self) -> int:
        """Windows of all participants."""
        return self.participants * self.sessions * self.bouts * len(ACTIVITIES) * self.windows_per_bout

    def digest(self) -> str:
        """A short name for the study that this simulator makes of this config."""
        made_from = {"simulator_version": SIMULATOR_VERSION} | asdict(self)
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def study_is_complete(out: Path, config: StudyConfig) -> bool:
    """Whether ``out`` holds the whole study of this config, made by this version of the simulator."""
    manifest = out / MANIFEST
    if not manifest.is_file():
        return False
    found = json.loads(manifest.read_text())
    return found["digest"] == config.digest() and all(
        (out / name).is_file() and (out / name).stat().st_size == size for name, size in found["files"].items()
    )


def simulate_study(config: StudyConfig, out: Path) -> Path:
    """Simulate the study into the folder ``out``, which is there when it is whole; a finished one is left as it is.

    Returns:
        ``out``.

    Raises:
        StudyError: ``out`` holds something else.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with only_process(out.with_name(f".{out.name}.lock")):  # a second process waits here and finds it finished
        if study_is_complete(out, config):
            return out
        if out.exists() and any(out.iterdir()):
            raise StudyError(f"{out} holds another study or other files; name another folder, or remove it")
        partial = out.with_name(f".{out.name}.{config.digest()}.partial")
        if partial.exists():
            shutil.rmtree(partial)  # of a simulation that was killed
        partial.mkdir()
        files = [partial / f"{_name(number)}.parquet" for number in range(config.participants)]

        def write(number: int) -> None:
            write_windows(files[number], _participant(config, number))

        for _ in on_all_cores(write, range(config.participants)):
            pass
        manifest = {
            "simulator_version": SIMULATOR_VERSION,
            "digest": config.digest(),
            "config": asdict(config),
            "windows": config.number_of_windows,
            "files": {file.name: file.stat().st_size for file in files},
        }
        write_json(partial / MANIFEST, manifest)
        partial.replace(out)
    return out


def _name(number: int) -> str:
    return f"p{number + 1:03d}"


def _participant(config: StudyConfig, number: int) -> pa.Table:
    """All windows of a participant, in the order of time."""
    rng = np.random.default_rng([config.seed, number])
    person = draw_person(rng, config.variety)
    sessions = [_session(config, rng, person, number, k) for k in range(config.sessions)]
    return pa.concat_tables(sessions)


def _session(config: StudyConfig, rng: np.random.Generator, person: Person, number: int, k: int) -> pa.Table:
    """The windows of a session, in the order of time; bouts of the activities take turns."""
    session = draw_session(rng)
    layout = WindowLayout(CHANNELS, config.window_size, SAMPLING_RATE_HZ)
    start_s, windows, times, labels = k * _DAY_S, [], [], []
    for _ in range(config.bouts):
        for activity in rng.permutation(len(ACTIVITIES)).tolist():
            signal = record_bout(rng, person, session, activity, config.windows_per_bout * config.window_size)
            bout = signal.reshape(len(CHANNELS), config.windows_per_bout, config.window_size).swapaxes(0, 1)
            windows.append(bout.astype(np.float32))
            times.append(start_s + layout.duration_s * np.arange(config.windows_per_bout))
            labels += [ACTIVITIES[activity]] * config.windows_per_bout
            start_s += config.windows_per_bout * layout.duration_s + _PAUSE_S
    return window_table(
        layout,
        np.concatenate(windows),
        participant=_name(number),
        session=f"{_name(number)}/s{k + 1}",
        time=np.concatenate(times),
        label=labels,
    )
