import pyarrow.parquet as pq
import pytest

from dark_halo_scope.sky.survey import simulate_survey
from tests.audit.planting import audit, write
from tests.sky.surveys import survey_config


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """960 stamps of the default survey in 40 regions."""
    config = survey_config(regions={"train": 16, "val": 12, "test": 12}, stamps_per_region=24)
    folder = simulate_survey(config, tmp_path_factory.mktemp("survey") / "clean", progress=False)
    return pq.read_table([str(file) for file in sorted(folder.glob("*.parquet"))])


@pytest.fixture(scope="session")
def clean_root(clean, tmp_path_factory):
    return write(clean, tmp_path_factory.mktemp("clean") / "survey")


@pytest.fixture(scope="session")
def clean_audit(clean_root):
    return audit(clean_root)
