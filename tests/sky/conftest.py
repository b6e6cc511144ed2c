import numpy as np
import pyarrow.parquet as pq
import pytest

from dark_halo_scope.sky.survey import simulate_survey
from dark_halo_scope.stamps.codec import decode_stamp
from tests.sky.surveys import survey_config


def read_survey(root):
    """The catalogue without stamps, and the stamps (N, 3, 64, 64), of a survey."""
    table = pq.read_table([str(file) for file in sorted(root.glob("*.parquet"))])
    images = np.empty((table.num_rows, 3, 64, 64), np.float32)
    for image, stamp in zip(images, table["stamp_npz"], strict=True):
        decode_stamp(stamp.as_py(), image)
    return table.drop_columns(["stamp_npz"]), images


@pytest.fixture(scope="session")
def small_survey_folder(tmp_path_factory):
    """The default survey with an eighth of its regions."""
    config = survey_config(regions={"train": 12, "val": 4, "test": 4})
    return simulate_survey(config, tmp_path_factory.mktemp("survey") / "small", progress=False)


@pytest.fixture(scope="session")
def small_survey(small_survey_folder):
    return read_survey(small_survey_folder)


@pytest.fixture(scope="session")
def grid_survey(tmp_path_factory):
    """The upstream grid on three regions: 180 stamps."""
    config = survey_config("upstream_grid", regions={"train": 1, "val": 1, "test": 1})
    return read_survey(simulate_survey(config, tmp_path_factory.mktemp("survey") / "grid", progress=False))
