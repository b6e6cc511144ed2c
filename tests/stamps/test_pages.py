import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.pages import runs_through, values_in_order


class CountedFile:
    """A file for pyarrow that counts the bytes read from it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.n_read = 0
        self.closed = False

    def read(self, n: int = -1) -> bytes:
        data = self._file.read(n)
        self.n_read += len(data)
        return data

    def seek(self, *where: int) -> int:
        return self._file.seek(*where)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def noise(lengths: list[int], seed: int = 0) -> list[bytes]:
    """Bytes that no codec can pack, as those of compressed stamps, each but an empty one unlike any other."""
    rng = np.random.default_rng(seed)
    return [rng.bytes(n)[:-2] + k.to_bytes(2, "little") if n else b"" for k, n in enumerate(lengths)]


def write(path: Path, values: list[bytes | None], *, nullable: bool = True, **options) -> pa.NativeFile:
    table = pa.table({"before": np.arange(len(values)), "stamp_npz": pa.array(values, pa.binary())})
    table = table.cast(pa.schema([table.schema.field(0), pa.field("stamp_npz", pa.binary(), nullable)]))
    pq.write_table(table, path, **options)
    return pa.memory_map(str(path))


def read(source: pa.NativeFile, rows: int = 7, read_bytes: int = 5_000) -> list[bytes]:
    footer = pq.ParquetFile(source).metadata
    values = []
    for group in range(footer.num_row_groups):
        for piece in values_in_order(source, footer, group, "stamp_npz", rows=rows, read_bytes=read_bytes):
            assert piece
            values += [b"".join(piece[k]) for k in range(len(piece))]
    return values


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(300, 3_000), min_size=1, max_size=60),
    options=st.fixed_dictionaries(
        {
            "nullable": st.booleans(),
            "compression": st.sampled_from(["snappy", "none"]),
            "use_dictionary": st.booleans(),
            "row_group_size": st.sampled_from([4, 25, 1_000]),
            "data_page_size": st.sampled_from([2_000, 1 << 20]),
            "write_batch_size": st.sampled_from([8, 1_024]),
            "dictionary_pagesize_limit": st.sampled_from([10_000, 1 << 20]),
        }
    ),
    rows=st.sampled_from([1, 7, 1_000]),
)
def test_every_layout_of_stamps_is_read(tmp_path_factory, lengths, options, rows):
    values = noise(lengths)
    source = write(tmp_path_factory.mktemp("file") / "a.parquet", values, **options)
    assert runs_through(pq.ParquetFile(source).metadata, 0, "stamp_npz")
    assert read(source, rows) == values


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 5, 70, 70_000]), min_size=1, max_size=30),
    n_kinds=st.integers(1, 30),
    version=st.sampled_from(["1.0", "2.0"]),
)
def test_what_is_given_of_any_other_layout_is_right(tmp_path_factory, lengths, n_kinds, version):
    values = (noise(lengths[:n_kinds]) * 30)[: len(lengths)]  # some of them more than once, some to be packed
    source = write(tmp_path_factory.mktemp("file") / "a.parquet", values, data_page_version=version)
    given_ = read(source)
    assert given_ == values[: len(given_)]


@pytest.mark.parametrize(
    ("values", "options"),
    [([b"a" * 3_000, *noise([9_000] * 3)], {}), (noise([9_000] * 4), {"compression": "zstd"}), ([None, b"ab"], {})],
    ids=["packed by snappy", "another codec", "with nulls"],
)
def test_what_pyarrow_reads_as_well_is_left_to_it(tmp_path, values, options):
    source = write(tmp_path / "a.parquet", values, use_dictionary=False, **options)
    assert not runs_through(pq.ParquetFile(source).metadata, 0, "stamp_npz")


@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_no_more_is_read_than_is_asked_for(tmp_path, compression, use_dictionary):
    values = noise([40_000] * 100)  # a page of 4 MB
    write(tmp_path / "a.parquet", values, compression=compression, use_dictionary=use_dictionary)
    footer = pq.ParquetFile(tmp_path / "a.parquet").metadata
    file = CountedFile(tmp_path / "a.parquet")
    pieces = values_in_order(pa.PythonFile(file, "r"), footer, 0, "stamp_npz", rows=5, read_bytes=50_000)
    piece = next(pieces)
    assert [b"".join(piece[k]) for k in range(len(piece))] == values[:5]
    assert file.n_read < 400_000


def test_a_memory_map_is_not_copied(tmp_path):
    source = write(tmp_path / "a.parquet", noise([40_000] * 100), compression="none")
    before = pa.total_allocated_bytes()
    (run,) = values_in_order(
        source, pq.ParquetFile(source).metadata, 0, "stamp_npz", rows=100, read_bytes=1 << 20
    )  # a page of 4 MB, of which four values lie in two pieces
    assert all(isinstance(part, memoryview) for k in range(100) for part in run[k] if part)
    assert pa.total_allocated_bytes() == before


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_file_that_ends_early_ends_the_values_or_cannot_be_read(damaged, data):
    path, start, end = damaged
    footer = pq.ParquetFile(path).metadata
    kept = path.read_bytes()[: data.draw(st.integers(start, end - 1))]
    runs = values_in_order(pa.BufferReader(kept), footer, 0, "stamp_npz", rows=7, read_bytes=5_000)
    with contextlib.suppress(OSError):
        assert sum(len(run) for run in runs) <= 20


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_ends_the_values(damaged, data):
    path, start, end = damaged
    whole = path.read_bytes()
    try:
        spoilt = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 5))):
            where = data.draw(st.one_of(st.integers(start, start + 60), st.integers(start, end - 1)))
            spoilt[where] = data.draw(st.integers(0, 255))
        path.write_bytes(spoilt)
        assert len(read(pa.memory_map(str(path)))) <= 20
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module", params=["snappy", "none"])
def damaged(tmp_path_factory, request) -> tuple[Path, int, int]:
    """A file to be damaged, and where its stamps begin and end."""
    path = tmp_path_factory.mktemp("damaged") / "a.parquet"
    write(path, [*noise([900] * 19), b"ab" * 50], compression=request.param)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    return path, chunk.dictionary_page_offset, chunk.dictionary_page_offset + chunk.total_compressed_size
