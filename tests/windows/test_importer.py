"""CSV recordings, as sensors write them and as they should not, to windows."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest

from dark_halo_scope.commands import import_windows as command
from dark_halo_scope.configuration import REPOSITORY
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.windows.cutting import resample
from dark_halo_scope.windows.importer import ImportOptions, import_windows
from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.reader import read_windows
from dark_halo_scope.windows.recordings import RecordingError

RATE_HZ = 20.0
OPTIONS = {"sampling_rate_hz": RATE_HZ, "window_size": 20, "overlap": 0.0, "max_gap_s": 0.3}


def recording(
    file: Path,
    *,
    start_s: float = 0.0,
    seconds: float = 10.0,
    rate_hz: float = RATE_HZ,
    header: str = "",
    **columns: object,
) -> Path:
    """A sine of 1 Hz and a ramp, walking for the first half and sitting for the second; ``columns`` replace or add."""
    time_s = start_s + np.arange(round(seconds * rate_hz)) / rate_hz
    table: dict[str, object] = {
        "time": time_s,
        "acc_x": np.sin(2 * np.pi * time_s),
        "acc_y": time_s,
        "label": np.where(time_s - start_s < seconds / 2, "walk", "sit"),
    }
    table |= columns
    lines = [header or ",".join(table)]
    lines += [",".join(str(cell) for cell in row) for row in zip(*table.values(), strict=True)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def imported(folder: Path, **options: object):
    made = import_windows(folder, folder.parent / "out", ImportOptions(**(OPTIONS | options)), progress=False)
    return made, WindowIndex.build(str(folder.parent / "out"))


def test_windows_hold_the_signal_and_their_label(tmp_path):
    for who in ("ann", "bob"):
        for day in (1, 2):
            recording(tmp_path / "in" / f"{who}_{day}.csv", start_s=1000.0 * day)
    made, index = imported(tmp_path / "in")
    assert (made.participants, made.sessions, made.windows, made.told) == (2, 4, {"sit": 20, "walk": 20}, {})
    assert index.sessions == ("ann/1", "ann/2", "bob/1", "bob/2")
    assert index.layout.channels == ("acc_x", "acc_y")
    time_s = index.time[:, None] + np.arange(20) / RATE_HZ
    expected = np.stack([np.sin(2 * np.pi * time_s), time_s], axis=1)
    np.testing.assert_allclose(read_windows(index, np.arange(40)), expected, atol=1e-4)
    walks = (index.time % 1000 < 5).tolist()
    assert [index.classes[k] == "walk" for k in index.label] == walks


def test_overlap_and_names_in_columns(tmp_path):
    recording(tmp_path / "in" / "a.csv", who=["p"] * 200, day=[1] * 100 + [2] * 100)
    recording(tmp_path / "in" / "b.csv", who=["q"] * 200, day=[7] * 200)
    made, index = imported(tmp_path / "in", participant_column="who", session_column="day", overlap=0.5)
    assert index.sessions == ("p/1", "p/2", "q/7")
    assert index.layout.channels == ("acc_x", "acc_y")  # a column that names is no channel
    starts = index.time[index.session == 2]
    np.testing.assert_allclose(np.diff(starts)[:4], 0.5)
    assert made.told["windows in which the label changes, left out"] == 1


def test_names_by_a_pattern_and_times_in_other_units(tmp_path):
    milliseconds = (np.arange(200) * 50).tolist()
    recording(tmp_path / "in" / "ann" / "x-day3.csv", time=milliseconds)
    dates = [f"2024-05-01 10:00:{k / RATE_HZ:09.6f}" for k in range(200)]
    recording(tmp_path / "more" / "ann" / "x-day3.csv", time=dates)
    pattern = "PARTICIPANT/*-daySESSION.csv"
    _, index = imported(tmp_path / "in", time_unit="ms", file_pattern=pattern)
    assert index.sessions == ("ann/3",)
    np.testing.assert_allclose(index.time, np.arange(10.0))
    made = import_windows(tmp_path / "more", tmp_path / "out2", ImportOptions(**OPTIONS, file_pattern=pattern))
    assert made.windows == {"sit": 5, "walk": 5}
    assert WindowIndex.build(str(tmp_path / "out2")).time[0] == 1714557600.0


def test_what_is_left_out_is_counted(tmp_path):
    holes = np.arange(200) % 1.0
    values = [str(v) for v in holes]
    values[50:60] = ["" for _ in range(10)]  # half a second without a number
    labels = ["walk"] * 93 + ["sit"] * 57 + [""] * 20 + ["sit"] * 30
    recording(tmp_path / "in" / "a_1.csv", acc_x=values, label=labels)
    made, index = imported(tmp_path / "in")
    assert made.told == {
        "gaps longer than max_gap_s": 1,
        "samples without a number in some channel": 10,
        "windows in which the label changes, left out": 1,
        "windows with samples without a label, left out": 2,
    }
    np.testing.assert_allclose(index.time, [0, 1, 3, 5, 6, 9.0])
    majority = import_windows(
        tmp_path / "in", tmp_path / "m", ImportOptions(**OPTIONS, on_label_change="majority"), progress=False
    )
    assert majority.told["windows in which the label changes, named by the majority"] == 1
    assert majority.windows == {"sit": 3, "walk": 4}


def test_no_window_reaches_across_a_gap_and_short_parts_are_told(tmp_path):
    time_s = np.concatenate([np.arange(50), np.arange(60, 70), np.arange(80, 220)]) / RATE_HZ
    recording(tmp_path / "in" / "a_1.csv", time=time_s)
    made, index = imported(tmp_path / "in")
    assert made.told["gaps longer than max_gap_s"] == 2
    assert made.told["parts shorter than a window"] == 1
    edges = time_s[[0, 49, 60, 199]]
    inside = [(edges[k] <= index.time) & (index.time + 19 / RATE_HZ <= edges[k + 1] + 1e-9) for k in (0, 2)]
    assert (inside[0] | inside[1]).all()


def test_nothing_is_lost_by_the_name_of_a_folder_or_the_date(tmp_path):
    recording(tmp_path / "in" / "_raw" / "a_1.csv", start_s=1.7e9 + 0.01)
    made, index = imported(tmp_path / "in", file_pattern="*/PARTICIPANT_SESSION.csv")
    assert made.windows == {"sit": 5, "walk": 5}
    assert index.n_rows == 10


def test_irregular_samples_come_onto_the_grid():
    rng = np.random.default_rng(1)
    time_s = np.arange(30 * 45) / 45 + rng.uniform(0, 0.02, 30 * 45)
    grid, signal = resample(time_s, np.sin(2 * np.pi * time_s)[:, None], RATE_HZ)
    np.testing.assert_allclose(np.diff(grid), 1 / RATE_HZ)
    np.testing.assert_allclose(signal[20:-20, 0], np.sin(2 * np.pi * grid[20:-20]), atol=0.03)


def test_what_is_too_fast_for_the_grid_does_not_fold_into_it():
    time_s = np.arange(0, 30, 1 / 200)
    fast, slow = np.sin(2 * np.pi * 19 * time_s), np.sin(2 * np.pi * 2 * time_s)  # 19 Hz would fold to 1 Hz
    grid, signal = resample(time_s, np.stack([fast, slow], axis=1), RATE_HZ)
    inner = slice(40, -40)
    assert np.abs(signal[inner, 0]).max() < 0.02
    np.testing.assert_allclose(signal[inner, 1], np.sin(2 * np.pi * 2 * grid[inner]), atol=0.02)


TIME = np.arange(200) / RATE_HZ
BACKWARDS = TIME.copy()
BACKWARDS[[100, 101]] = BACKWARDS[[101, 100]]
BREACHES = {
    "time goes back": ({"time": BACKWARDS}, {}, r"a_1\.csv: time does not go on in 1 places \(first: line 103, 5\.0"),
    "time stands": ({"time": np.minimum(TIME, 9.9)}, {}, "sort the samples, drop the doubles"),
    "no time": ({"time": ["soon"] * 200}, {}, "column time holds string, neither a number nor a date"),
    "no label column": (
        {},
        {"label_column": "activity"},
        r"a_1\.csv: no column activity; it has time, acc_x, acc_y, label",
    ),
    "no channel": ({}, {"channels": ["acc_x", "acc_z"]}, r"a_1\.csv: no column acc_z"),
    "text in a channel": ({"acc_x": ["high"] * 200}, {"channels": ["acc_x"]}, "channel acc_x holds string instead"),
    "no signal": ({"acc_x": ["a"] * 200, "acc_y": ["b"] * 200}, {}, "no column of numbers among time, acc_x"),
    "no name": (
        {},
        {"file_pattern": "PARTICIPANT-SESSION.csv"},
        "does not say participant and session by file_pattern",
    ),
    "one class": ({"label": ["sit"] * 200}, {}, "every window has the label sit"),
    "nothing": ({"label": [""] * 200}, {}, "nothing to tell apart"),
    "ragged": ({"header": "time,acc_x,label"}, {}, r"a_1\.csv cannot be read as CSV \(.*Expected 3 columns, got 4"),
}


@pytest.mark.parametrize(("columns", "options", "told"), BREACHES.values(), ids=BREACHES)
def test_a_recording_that_cannot_be_meant_is_refused_and_nothing_is_left(columns, options, told, tmp_path):
    recording(tmp_path / "in" / "a_1.csv", **columns)
    with pytest.raises((RecordingError, ContractError), match=told):
        imported(tmp_path / "in", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"overlap": 1.0}, r"overlap=1 must lie in \[0, 1\)"),
        ({"window_size": 1}, "window_size=1 at least 2"),
        ({"time_unit": "h"}, "time_unit='h' is not known: choose one of s, ms, us, ns"),
        ({"on_label_change": "first"}, "on_label_change='first' is not known: choose drop or majority"),
    ],
)
def test_impossible_options_are_refused(options, told):
    with pytest.raises(RecordingError, match=told):
        ImportOptions(**options)


def test_two_recordings_of_one_session_at_one_time_are_refused(tmp_path):
    recording(tmp_path / "in" / "x" / "a_1.csv")
    recording(tmp_path / "in" / "y" / "a_1.csv", start_s=9.5)
    with pytest.raises(RecordingError, match=r"x/a_1\.csv and y/a_1\.csv both hold session a/1 at 9\.5 s; give them"):
        imported(tmp_path / "in", file_pattern="*/PARTICIPANT_SESSION.csv")


def test_an_empty_folder_and_a_folder_that_is_there_are_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"holds no \.csv file"):
        imported(tmp_path)
    recording(tmp_path / "in" / "a_1.csv")
    imported(tmp_path / "in")
    with pytest.raises(RecordingError, match="out is there already"):
        imported(tmp_path / "in")


def test_a_killed_import_goes_on_with_the_next_file(tmp_path):
    for who in ("ann", "bob"):
        recording(tmp_path / "in" / f"{who}_1.csv")
    recording(tmp_path / "in" / "cleo_1.csv", seconds=5000)  # takes long enough to be killed at
    arguments = ["import-windows", str(tmp_path / "in"), str(tmp_path / "out"), "window_size=20", "sampling_rate_hz=20"]
    start = f"from tests.windows.test_importer import halo; halo({arguments})"
    process = subprocess.Popen([sys.executable, "-c", start], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    while not (done := list(tmp_path.glob(".out.*.partial/recording-00001.parquet"))):
        time.sleep(0.001)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    kept, made = done[0], done[0].stat().st_mtime_ns
    halo(arguments)
    assert (tmp_path / "out" / kept.name).stat().st_mtime_ns == made
    assert WindowIndex.build(str(tmp_path / "out")).participants == ("ann", "bob", "cleo")
    assert not list(tmp_path.glob(".out.*.partial"))


def halo(arguments: list[str]) -> None:
    parser = ArgumentParser()
    command.add(parser.add_subparsers())
    known, overrides = parser.parse_known_args(arguments)
    known.run(known, overrides)


def test_the_command_says_what_it_made_and_left_out(tmp_path, capsys):
    labels = ["walk"] * 93 + ["sit"] * 107
    recording(tmp_path / "in" / "a_1.csv", label=labels)
    options = ["sampling_rate_hz=20", "window_size=20", "overlap=0", "max_gap_s=0.3", "channels=[acc_y]"]
    halo(["import-windows", str(tmp_path / "in"), str(tmp_path / "out"), *options])
    told = capsys.readouterr().out.splitlines()[-4:]
    assert told[0].startswith("9 windows of 1 participants in 1 sessions in ")
    assert told[1:] == ["sit: 5", "walk: 4", "1 windows in which the label changes, left out"]
    assert WindowIndex.build(str(tmp_path / "out")).layout.channels == ("acc_y",)
