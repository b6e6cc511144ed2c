"""What a dataset of windows must be: columns, layout, and the sentence said when it is not.

One row is one window: who (``participant``), when (``session`` and ``time``, the window's start), what (``label``) and
the samples (``window``, channels one after the other). The layout that all windows share (names of the channels,
samples a window, sampling rate) stands in the metadata of each file. Train, val and test are made of whole participants
and sessions when an experiment is planned, so that there is no column for them.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from numpy.typing import NDArray

from dark_halo_scope.stamps.contract import ContractError, plain_type

WINDOW_COLUMN = "window"
LAYOUT_KEY = b"windows"
MAX_CLASSES = np.iinfo(np.int8).max


@dataclass(frozen=True)
class WindowLayout:
    """What all windows of a dataset have in common.

    Attributes:
        channels: Names of the channels, in their order.
        window_size: Samples of a channel.
        sampling_rate_hz: Samples a second.
    """

    channels: tuple[str, ...]
    window_size: int
    sampling_rate_hz: float

    def __post_init__(self) -> None:
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ContractError(f"the channels {', '.join(self.channels)} must be named, each once")
        if self.window_size < 1 or self.sampling_rate_hz <= 0:
            raise ContractError(
                f"a window of {self.window_size} samples at {self.sampling_rate_hz:g} Hz is none; both must be positive"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""
        return len(self.channels), self.window_size

    @property
    def duration_s(self) -> float:
        """How long a window is."""
        return self.window_size / self.sampling_rate_hz

    def schema(self) -> pa.Schema:
        """Schema of a file of such windows as this package writes it; the layout is in its metadata."""
        window = pa.list_(pa.field("item", pa.float32(), nullable=False), int(np.prod(self.shape)))
        columns = [
            ("participant", pa.string()),
            ("session", pa.string()),
            ("time", pa.float64()),
            ("label", pa.string()),
            (WINDOW_COLUMN, window),
        ]
        return pa.schema(columns, metadata={LAYOUT_KEY: json.dumps(asdict(self)).encode()})

    @classmethod
    def of_file(cls, schema: pa.Schema, file: str) -> "WindowLayout":
        """The layout that a file says it has.

        Raises:
            ContractError: When it says none, or one that makes no sense.
        """
        told = (schema.metadata or {}).get(LAYOUT_KEY)
        if told is None:
            raise ContractError(
                f"{file}: the file's metadata have no key {LAYOUT_KEY.decode()!r} with channels, window_size and "
                "sampling_rate_hz as JSON; write it, or make the dataset with `halo import-windows`"
            )
        try:
            layout = json.loads(told)
            return cls(tuple(layout["channels"]), int(layout["window_size"]), float(layout["sampling_rate_hz"]))
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ContractError(
                f"{file}: the layout {told.decode(errors='replace')!r} in the file's metadata cannot be read "
                f"({error}); it must be JSON with channels, window_size and sampling_rate_hz"
            ) from error


def _is_name(kind: pa.DataType) -> bool:
    kind = plain_type(kind)
    return pat.is_string(kind) or pat.is_large_string(kind) or pat.is_integer(kind)


def _is_time(kind: pa.DataType) -> bool:
    return pat.is_floating(kind) or pat.is_integer(kind) or pat.is_timestamp(kind)


_Kind = tuple[str, Callable[[pa.DataType], bool]]
_NAME: _Kind = ("string or integer", _is_name)
REQUIRED_COLUMNS: dict[str, _Kind] = {
    "participant": _NAME,
    "session": _NAME,
    "time": ("number of seconds or timestamp", _is_time),
    "label": _NAME,
}


def check_schema(schema: pa.Schema, file: str) -> WindowLayout:
    """Refuse a file whose columns, types or sizes are not those of the contract; give its layout.

    Raises:
        ContractError: Naming every missing column, or the first one of a wrong type or size.
    """
    if missing := [name for name in (*REQUIRED_COLUMNS, WINDOW_COLUMN) if name not in schema.names]:
        raise ContractError(f"{file}: missing column {', '.join(missing)}; write the dataset again with it")
    for name, (wanted, fits) in REQUIRED_COLUMNS.items():
        kind = schema.field(name).type
        if not fits(kind):
            raise ContractError(f"{file}: column {name} has type {kind}, but a {wanted} is required; cast it")
    layout = WindowLayout.of_file(schema, file)
    kind = schema.field(WINDOW_COLUMN).type
    if not (pat.is_fixed_size_list(kind) and pat.is_float32(kind.value_type)):
        raise ContractError(
            f"{file}: column {WINDOW_COLUMN} has type {kind}, but a fixed-size list of float32 is required; cast it"
        )
    channels, size = layout.shape
    if kind.list_size != channels * size:
        raise ContractError(
            f"{file}: a window has {kind.list_size} numbers, but {channels} channels of {size} samples make "
            f"{channels * size}; write whole windows, channel after channel, or correct the layout in the metadata"
        )
    return layout


def names(column: pa.ChunkedArray, name: str, file: str) -> pa.Array:
    """A column of participants, sessions or labels as int64 or string, without nulls."""
    if column.null_count:
        raise ContractError(
            f"{file}: column {name} is null in {column.null_count} rows (first: row "
            f"{pc.index(pc.is_null(column), True).as_py()}); name them, or leave these windows out"
        )
    kind = plain_type(column.type)
    return column.cast(kind).cast(pa.int64() if pat.is_integer(kind) else pa.string()).combine_chunks()


def seconds(column: pa.ChunkedArray, file: str) -> NDArray[np.float64]:
    """Column ``time`` in seconds, (N,); of a timestamp, since 1970."""
    if pat.is_timestamp(column.type):
        nanoseconds = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        column = pc.divide(nanoseconds.cast(pa.float64(), safe=False), 1e9)  # to 0.2 microseconds
    time = column.cast(pa.float64()).to_numpy()
    if not np.isfinite(time).all():  # null becomes NaN
        raise ContractError(
            f"{file}: column time is null or not finite in row {int(np.argmin(np.isfinite(time)))}; "
            "give every window the time at which it starts"
        )
    return time


def samples(column: pa.ChunkedArray | pa.Array, layout: WindowLayout, file: str, first_row: int) -> NDArray[np.float32]:
    """Windows (n, C, T) of a piece of a file that begins at ``first_row``.

    Raises:
        ContractError: When one of them is null, or holds NaN or infinity.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.null_count:
        row = first_row + pc.index(pc.is_null(array), True).as_py()
        raise ContractError(f"{file}: window {row} is null; leave it out of the dataset")
    windows = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, *layout.shape)
    finite = np.isfinite(windows).all(axis=(1, 2))
    if not finite.all():
        k = int(np.argmin(finite))
        channel = layout.channels[int(np.argmin(np.isfinite(windows[k]).all(axis=1)))]
        raise ContractError(
            f"{file}: window {first_row + k} holds NaN or infinity in channel {channel} (and "
            f"{np.count_nonzero(~finite) - 1} more windows of its row group do); leave them out, or fill the gaps"
        )
    return windows
