"""The index of a dataset of windows: who, when and what each row is, without the samples."""

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.row_index import OUTSIDE_THE_PARTS, RowIndex, Rows, starts
from dark_halo_scope.windows.contract import MAX_CLASSES, WINDOW_COLUMN, ContractError, WindowLayout
from dark_halo_scope.windows.scan import WindowScan, scan_file

log = logging.getLogger(__name__)

_SCAN_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class WindowIndex(RowIndex):
    """Rows of a dataset of windows; none is in use before `with_parts` says so.

    Attributes:
        fingerprint: sha256 of the layout and of all that the rows hold, samples included, row group by row group. Names
            of files and where they lie do not count.
        layout: Channels, size and rate of the windows.
        participants: Names of the participants, sorted.
        participant: Position in ``participants``; (N,).
        sessions: Names of the sessions, sorted; each belongs to one participant.
        session: Position in ``sessions``; (N,).
        time: Start of each window in seconds; (N,).
        notes: What a user should know of the dataset, for the log.
    """

    sample_columns = (WINDOW_COLUMN,)
    exclusions = (OUTSIDE_THE_PARTS,)
    layout: WindowLayout
    participants: tuple[str, ...]
    participant: NDArray[np.int32]
    sessions: tuple[str, ...]
    session: NDArray[np.int32]
    time: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @classmethod
    def build(cls, root: str) -> "WindowIndex":
        """Read the dataset at ``root``, a folder, file or URI (see `StampFiles.find`), and hold it to the contract.

        Raises:
            ContractError: At the first breach of contract.
        """
        index = cls.scan(root)
        for note in index.notes:
            log.warning("%s", note)
        return index

    @classmethod
    def scan(cls, root: str) -> "WindowIndex":
        """As `build`; nothing is logged."""
        files = StampFiles.find(root)
        with ThreadPoolExecutor(_SCAN_THREADS) as pool:
            scans = list(pool.map(lambda number: scan_file(files, number), range(len(files.names))))
        layout = _common_layout(files, scans)
        classes, label = _coded([s.label for s in scans], "label", root)
        participants, participant = _coded([s.participant for s in scans], "participant", root)
        sessions, session = _coded([s.session for s in scans], "session", root)
        time = np.concatenate([s.time for s in scans])
        _check_classes(classes, root)
        _check_sessions(participants, participant, sessions, session, root)
        digests = b"".join(digest for s in scans for digest in s.digests)
        made_of = json.dumps([asdict(layout), [n for s in scans for n in s.group_rows]]).encode()
        return cls(
            files=files,
            file_starts=starts(len(s.time) for s in scans),
            group_starts=starts(n for s in scans for n in s.group_rows),
            file_groups=starts(len(s.group_rows) for s in scans),
            classes=classes,
            label=label.astype(np.int8),
            split=np.zeros(len(label), np.int8),
            exclusion=np.ones(len(label), np.int8),
            fingerprint=hashlib.sha256(made_of + digests).hexdigest(),
            id_columns=("participant", "session", "time"),
            layout=layout,
            participants=participants,
            participant=participant,
            sessions=sessions,
            session=session,
            time=time,
            notes=tuple(filter(None, [_overlaps(root, layout, session, time)])),
        )

    @property
    def participant_keys(self) -> NDArray[np.int64]:
        """`participant_key` of each of ``participants``."""
        return np.array([participant_key(name) for name in self.participants], np.int64)

    def participants_in(self, split: str) -> tuple[str, ...]:
        """Names of the participants that have windows in use in a split, sorted."""
        return tuple(self.participants[k] for k in np.unique(self.participant[self.rows(split)]))


def participant_key(name: str) -> int:
    """A number that stands for a participant wherever names do not go: on a device, and in saved weights.

    63 bits of a hash: two of a million participants share one with a probability of 1e-7.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def _common_layout(files: StampFiles, scans: list[WindowScan]) -> WindowLayout:
    for name, scan in zip(files.names, scans, strict=True):
        if scan.layout != scans[0].layout:
            raise ContractError(
                f"{files.root}: {files.names[0]} holds {_told(scans[0].layout)}, but {name} {_told(scan.layout)}; "
                "a dataset has one layout: resample, or keep them apart"
            )
    return scans[0].layout


def _told(layout: WindowLayout) -> str:
    return f"windows of {layout.window_size} samples at {layout.sampling_rate_hz:g} Hz of {', '.join(layout.channels)}"


def _coded(columns: list[pa.Array], name: str, root: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Sorted names of what a column holds (integers by value), and the position of each row's in them."""
    if len({column.type for column in columns}) > 1:
        raise ContractError(f"{root}: column {name} is an integer in some files and a string in others; write it alike")
    column = pa.chunked_array(columns)
    values = pc.unique(column).sort()
    codes = pc.index_in(column, value_set=values).to_numpy().astype(np.int32)
    return tuple(map(str, values.to_pylist())), codes


def _check_classes(classes: tuple[str, ...], root: str) -> None:
    if len(classes) < 2:
        raise ContractError(
            f"{root}: every window has the label {', '.join(classes) or 'of none'}; there is nothing to tell apart: "
            "give windows of at least two classes"
        )
    if len(classes) > MAX_CLASSES:
        raise ContractError(
            f"{root}: column label holds {len(classes)} different values, more than {MAX_CLASSES} classes; it names "
            "something else than a class: correct it"
        )


def _check_sessions(
    participants: tuple[str, ...],
    participant: NDArray[np.int32],
    sessions: tuple[str, ...],
    session: NDArray[np.int32],
    root: str,
) -> None:
    """Refuse a session of two participants: parts that keep sessions whole would not keep participants apart."""
    pairs = np.unique(np.stack([session, participant]), axis=1)
    shared = np.flatnonzero(pairs[0, 1:] == pairs[0, :-1])
    if len(shared):
        k = int(shared[0])
        who = ", ".join(participants[p] for p in pairs[1, pairs[0] == pairs[0, k]][:5])
        raise ContractError(
            f"{root}: {len(np.unique(pairs[0, shared]))} sessions belong to more than one participant (session "
            f"{sessions[pairs[0, k]]}: {who}); name them apart, for instance PARTICIPANT/SESSION"
        )


def _overlaps(root: str, layout: WindowLayout, session: NDArray[np.int32], time: NDArray[np.float64]) -> str | None:
    """What to say of windows that share samples; refuse those that are there twice."""
    order: Rows = np.lexsort((time, session))
    same = np.diff(session[order]) == 0
    step_s = np.diff(time[order])
    twice = np.flatnonzero(same & (step_s == 0))
    if len(twice):
        first, second = sorted(order[twice[0] : twice[0] + 2].tolist())
        raise ContractError(
            f"{root}: {len(twice)} windows begin when another of their session does (first: rows {first} and {second}, "
            f"at {time[first]:g} s); leave the doubles out"
        )
    overlapping = same & (step_s < layout.duration_s - 0.5 / layout.sampling_rate_hz)
    if not overlapping.any():
        return None
    return (
        f"{root}: {np.count_nonzero(overlapping)} of {len(time)} windows share samples with the one before; keep whole "
        "sessions in one part, or a test would measure memory"
    )
