"""Simulate a small survey in a process of its own, for tests that kill it: python -m tests.sky.simulate FOLDER."""

import sys
from pathlib import Path

from dark_halo_scope.sky.survey import simulate_survey
from tests.sky.surveys import tiny_config

if __name__ == "__main__":
    simulate_survey(tiny_config(stamps_per_region=64), Path(sys.argv[1]), progress=False)
