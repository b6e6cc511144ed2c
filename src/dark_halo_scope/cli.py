"""The command `halo`: everything that is not training."""

import argparse
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

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
    prepare = commands.add_parser(
        "prepare",
        help="write a dataset once more as a training store: shuffled, measured, read at memory speed",
        usage="halo prepare RAW OUT [--verify] [key=value ...]",
        description="Write the training store of a raw dataset, which a run takes as data.root in its place. "
        "An interrupted preparation goes on where it stopped when the command is given again. "
        "Keys: precision (float16 or float32), max_float16_error, seed, shard_stamps, row_group_stamps, and, as in "
        "configs/data: max_nonfinite_fraction, quarantine_limit, on_split_leak, region_column, host_column.",
        epilog="example: halo prepare s3://bucket/stamps /nvme/store precision=float32; "
        "halo prepare s3://bucket/stamps /nvme/store --verify",
    )
    prepare.add_argument("raw", help="folder, file or URI of the raw dataset")
    prepare.add_argument("out", type=Path, help="folder to make")
    prepare.add_argument(
        "--verify",
        action="store_true",
        help="make nothing, but check the bytes of the store in OUT, and a sample of its stamps against RAW",
    )
    prepare.set_defaults(command=_prepare)
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


def _prepare(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from dark_halo_scope.stamps.store.options import StoreError, StoreOptions  # imports torch
    from dark_halo_scope.stamps.store.prepare import prepare
    from dark_halo_scope.stamps.store.verify import verify

    if arguments.verify:
        if overrides:
            raise StoreError(f"{overrides[0]}: a store is verified with the settings it was made with; leave it out")
        found = verify(arguments.raw, arguments.out)
        compared = f"{found.n_compared:,} stamps equal to the raw ones"
        if found.out_of_reach:
            compared = f"not compared with the raw dataset: {found.out_of_reach}"
        sys.stdout.write(f"{arguments.out}: {found.n_files} files as they were written; {compared}\n")
        return
    options = OmegaConf.merge(OmegaConf.structured(StoreOptions), OmegaConf.from_dotlist(overrides))
    store = prepare(arguments.raw, arguments.out, StoreOptions(**dict(options.items())))
    n_stamps = sum(sum(counts.values()) for counts in store.stamps.values())
    sys.stdout.write(f"{n_stamps:,} stamps in {arguments.out}\n")
    for what in ("quarantined", "repaired", "excluded"):
        for reason, by_split in store.faults[what].items():
            n_rows = sum(sum(counts.values()) for counts in by_split.values())
            sys.stdout.write(f"{what}: {n_rows:,} rows, {reason}\n")
    if store.float16_error:
        error = {name: f"{value:.2g}" for name, value in store.float16_error.items()}
        sys.stdout.write(
            f"float16: off by {error['mean']} of the sky noise on average, {error['max']} at worst (rms)\n"
        )
