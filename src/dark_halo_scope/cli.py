"""The command `halo`: everything that is not training."""

import argparse
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from dark_halo_scope.configuration import CONFIGS, plain_errors, register_resolvers


def main() -> None:
    """Run one subcommand."""
    parser = argparse.ArgumentParser(prog="halo", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    simulate = commands.add_parser(
        "simulate",
        help="simulate a survey into a folder of parquet files",
        usage="halo simulate OUT [--survey SURVEY] [key=value ...]",
        description="Simulate a survey into a folder of parquet files that a run takes as data.root. "
        "key=value overrides a key of the survey. "
        "An interrupted simulation goes on where it stopped when the command is given again.",
        epilog="example: halo simulate /data/my_survey --survey upstream_grid seed=7 regions.train=800",
    )
    simulate.add_argument("out", type=Path, help="folder to make")
    simulate.add_argument("--survey", default="default", help="file of configs/survey (default: %(default)s)")
    simulate.set_defaults(command=_simulate)
    arguments, overrides = parser.parse_known_args()  # argparse itself takes no positionals after an option
    if unknown := [word for word in overrides if word.startswith("-") or "=" not in word]:
        parser.error(f"{unknown[0]} is neither an option nor key=value")
    with plain_errors():
        arguments.command(arguments, overrides)


def _simulate(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from hydra.utils import instantiate

    from dark_halo_scope.sky.survey import simulate_survey  # imports torch

    register_resolvers()
    chosen = [f"survey={arguments.survey}", *(f"survey.{override}" for override in overrides)]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        survey = instantiate(compose("train", chosen).survey, _convert_="all")
    folder = simulate_survey(survey, arguments.out)
    sys.stdout.write(f"{survey.number_of_stamps:,} stamps in {folder}\n")
