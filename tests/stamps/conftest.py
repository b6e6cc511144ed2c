import pytest

from dark_halo_scope.stamps import plan
from tests.stamps.datasets import write_dataset
from tests.stamps.s3 import bucket, s3_server

__all__ = ["bucket", "s3_server"]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """Three files of 150 rows, in row groups of five."""
    return write_dataset(
        tmp_path_factory.mktemp("survey"), n_train=96, n_val=30, n_test=24, n_files=3, row_group_size=5
    )


@pytest.fixture(scope="module")
def by_lanes():
    """The plan of large splits for small ones; test_datamodule has the full shuffle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FULL_SHUFFLE_ROWS", 0)
        yield
