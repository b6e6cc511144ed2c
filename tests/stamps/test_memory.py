import logging

from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.memory import warn_of_open_row_groups
from tests.stamps.datasets import write_dataset


def test_pages_that_are_read_in_pieces_need_no_warning(tmp_path, caplog):
    index = StampIndex.build(str(write_dataset(tmp_path / "raw")))
    warn_of_open_row_groups(index, lanes=128, memory_bytes=1)
    assert not caplog.records


def test_too_many_open_row_groups_are_told_before_memory_runs_out(tmp_path, caplog):
    index = StampIndex.build(str(write_dataset(tmp_path / "raw", compression="zstd")))
    total = sum(index.files.sizes)
    n_groups = len(index.group_starts) - 1
    assert n_groups >= 4
    caplog.set_level(logging.WARNING)
    warn_of_open_row_groups(index, lanes=n_groups, memory_bytes=4 * total)
    assert not caplog.records
    warn_of_open_row_groups(index, lanes=n_groups, memory_bytes=total)
    assert f"{n_groups} of them open may take" in caplog.text
    lanes = int(caplog.text.split("data.lanes=")[1].split()[0])
    caplog.clear()
    warn_of_open_row_groups(index, lanes=lanes, memory_bytes=total)
    assert not caplog.records
