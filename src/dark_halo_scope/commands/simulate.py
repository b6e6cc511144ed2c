"""`halo simulate`: a survey to look at or to train on."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from hydra import compose, initialize_config_dir

from dark_halo_scope.configuration import CONFIGS, register_resolvers


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "simulate",
        help="simulate a survey into a folder of parquet files",
        usage="halo simulate OUT [--survey SURVEY] [key=value ...]",
        description="Simulate a survey into a folder of parquet files that a run takes as data.root. "
        "key=value overrides a key of the survey. "
        "An interrupted simulation goes on where it stopped when the command is given again.",
        epilog="example: halo simulate /data/my_survey --survey upstream_grid seed=7 regions.train=800",
    )
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--survey", default="default", help="file of configs/survey (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Simulate."""
    from hydra.utils import instantiate

    from dark_halo_scope.sky.survey import simulate_survey

    register_resolvers()
    chosen = [f"survey={arguments.survey}", *(f"survey.{override}" for override in overrides)]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        survey = instantiate(compose("train", chosen).survey, _convert_="all")
    folder = simulate_survey(survey, arguments.out)
    sys.stdout.write(f"{survey.number_of_stamps:,} stamps in {folder}\n")
