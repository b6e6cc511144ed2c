"""Recordings in CSV files: who, when, and signals with a label at every sample."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.windows import contract

SECONDS_OF = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class RecordingError(ValueError):
    """A recording that cannot be read as asked."""


@dataclass(frozen=True)
class RecordingFormat:
    """How recordings are written.

    Attributes:
        time_column: When each sample was taken: a number, or a date and time.
        time_unit: Of a number: s, ms, us or ns.
        label_column: What was going on; empty where nobody noted it.
        participant_column: Who; None: the name of the file says it.
        session_column: Which recording; None: the name of the file says it.
        file_pattern: Path of a file below the folder, the words PARTICIPANT and SESSION in the places of their names,
            ``*`` for what does not matter.
        channels: Columns of the signals; None: every other column that holds numbers.
    """

    time_column: str = "time"
    time_unit: str = "s"
    label_column: str = "label"
    participant_column: str | None = None
    session_column: str | None = None
    file_pattern: str = "PARTICIPANT_SESSION.csv"
    channels: list[str] | None = None

    def __post_init__(self) -> None:
        if self.time_unit not in SECONDS_OF:
            raise RecordingError(f"time_unit={self.time_unit!r} is not known: choose one of {', '.join(SECONDS_OF)}")


@dataclass(frozen=True)
class Recording:
    """Some samples of one session, in the order of time.

    Attributes:
        participant: Whose.
        session: Which, the participant in its name.
        time: In seconds, ascending; (n,).
        values: (n, C); NaN where the file has no number.
        label: Names, None where there is none; (n,).
    """

    participant: str
    session: str
    time: NDArray[np.float64]
    values: NDArray[np.float64]
    label: NDArray[np.object_]


def read_recordings(path: Path, name: str, how: RecordingFormat) -> Iterator[Recording]:
    """The recordings of a CSV file, one for each session in it.

    Args:
        path: The file.
        name: Its path below the folder, with slashes.
        how: How it is written, with the channels.

    Raises:
        RecordingError: When a column is missing or of another kind, time goes back, or the name does not say who.
    """
    assert how.channels is not None
    table = _read(path, name)
    named_by_file = _from_name(name, how)
    columns = {who: getattr(how, f"{who}_column") for who in ("participant", "session")}
    needed = [how.time_column, how.label_column, *filter(None, columns.values()), *how.channels]
    if missing := [column for column in dict.fromkeys(needed) if column not in table.column_names]:
        raise RecordingError(
            f"{name}: no column {', '.join(missing)}; it has {', '.join(table.column_names)}: name the columns by "
            "time_column=, label_column=, participant_column=, session_column= and channels="
        )
    time = _seconds(table[how.time_column], how, name)
    values = np.stack([_numbers(table[column], column, name) for column in how.channels], axis=1)
    label = np.array([None if value is None else str(value) for value in table[how.label_column].to_pylist()], object)
    who = {
        key: np.full(len(time), named_by_file[key])
        if column is None
        else np.array([str(value) for value in contract.names(table[column], column, name).to_pylist()])
        for key, column in columns.items()
    }
    keys = list(dict.fromkeys(zip(who["participant"].tolist(), who["session"].tolist(), strict=True)))
    for participant, session in keys:
        rows = np.flatnonzero((who["participant"] == participant) & (who["session"] == session))
        _check_order(time[rows], rows, name, how)
        yield Recording(participant, f"{participant}/{session}", time[rows], values[rows], label[rows])


def signal_columns(path: Path, how: RecordingFormat) -> list[str]:
    """Columns of numbers of a file that are neither time, label, participant nor session."""
    other = {how.time_column, how.label_column, how.participant_column, how.session_column}
    schema = _read(path, path.name).schema
    found = [field.name for field in schema if field.name not in other and _is_number(field.type)]
    if not found:
        raise RecordingError(f"{path.name}: no column of numbers among {', '.join(schema.names)}; there is no signal")
    return found


def _is_number(kind: pa.DataType) -> bool:
    return pat.is_floating(kind) or pat.is_integer(kind)


def _read(path: Path, name: str) -> pa.Table:
    try:
        return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True))
    except pa.ArrowInvalid as error:
        raise RecordingError(f"{name} cannot be read as CSV ({error}); correct it, or take it away") from error


def _from_name(name: str, how: RecordingFormat) -> dict[str, str]:
    """What the name of a file says of who and which session it is."""
    wanted = [key for key in ("participant", "session") if getattr(how, f"{key}_column") is None]
    expression = re.escape(how.file_pattern).replace(r"\*", "[^/]*")
    for key in ("participant", "session"):
        expression = expression.replace(key.upper(), f"(?P<{key}>[^/]+?)", 1)
    match = re.fullmatch(expression, name)
    told = match.groupdict() if match else {}
    if unknown := [key for key in wanted if not told.get(key)]:
        raise RecordingError(
            f"{name}: its name does not say {' and '.join(unknown)} by file_pattern={how.file_pattern!r}; write the "
            f"pattern of your names, or name a column ({unknown[0]}_column=)"
        )
    return told


def _seconds(column: pa.ChunkedArray, how: RecordingFormat, name: str) -> NDArray[np.float64]:
    if pat.is_timestamp(column.type):
        return contract.seconds(column, name)
    if not _is_number(column.type):
        raise RecordingError(
            f"{name}: column {how.time_column} holds {column.type}, neither a number nor a date and time such as "
            "2024-05-01 10:00:00.02"
        )
    return contract.seconds(column, name) * SECONDS_OF[how.time_unit]


def _numbers(column: pa.ChunkedArray, name: str, file: str) -> NDArray[np.float64]:
    if pat.is_null(column.type):
        return np.full(len(column), np.nan)
    if not _is_number(column.type):
        raise RecordingError(f"{file}: channel {name} holds {column.type} instead of numbers; correct it")
    return column.cast(pa.float64()).to_numpy()  # null becomes NaN


def _check_order(time: NDArray[np.float64], rows: NDArray[np.int64], name: str, how: RecordingFormat) -> None:
    back = np.flatnonzero(np.diff(time) <= 0)
    if len(back):
        k = int(back[0])
        raise RecordingError(
            f"{name}: {how.time_column} does not go on in {len(back)} places (first: line {rows[k + 1] + 2}, "
            f"{time[k + 1]:.6f} s after {time[k]:.6f} s); sort the samples, drop the doubles, or tell recordings apart "
            "by session_column="
        )
