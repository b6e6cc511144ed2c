"""`halo generalise`: what a finder loses on kinds of lenses and observations that it was not shown."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dark_halo_scope.configuration import CONFIGS, ConfigError, claimed, register_resolvers

INTERRUPTED = 130


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "generalise",
        help="train with kinds of stamps left out, and test on them",
        usage="halo generalise [--arms A,B] [--seeds 1,2,3] [--out DIR] [key=value ...]",
        description="Train a reference and, for each kind of lens or observation, runs that are not shown it: one "
        "Einstein radius, one lens model, the brightest or faintest sources, the best or worst seeing and depth, a "
        "part of the sky. All are tested on the stamps of that kind: generalisation.json and generalisation.html. "
        "key=value is what python train.py takes. The same command goes on after an interruption; more arms or seeds "
        "can be added later.",
        epilog="example: halo generalise --arms sie_to_sis,theta_e_low experiment=lens_small_cnn data.root=/data/dr10",
    )
    parser.add_argument("--arms", help="names, comma-separated (default: all that the data allow)")
    parser.add_argument("--seeds", default="1,2,3", help="of the runs, comma-separated (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder (default: logs/generalisation/<experiment_name>)")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Train what is missing, evaluate what is there."""
    seeds = _seeds(arguments.seeds)
    cfg = _composed(overrides)
    out = (arguments.out or Path(cfg.paths.log_dir) / "generalisation" / cfg.experiment_name).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with claimed(out):
        try:
            page, n_failed = _generalise(cfg, overrides, arguments.arms, seeds, out)
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted: the same command goes on where it stopped\n")
            raise SystemExit(INTERRUPTED) from None
    sys.stdout.write(f"{page}\n")
    if n_failed:
        sys.stderr.write(f"{n_failed} runs failed; the same command tries them again\n")
        raise SystemExit(1)


def _generalise(
    cfg: DictConfig, overrides: list[str], names: str | None, seeds: list[int], out: Path
) -> tuple[Path, int]:
    """The page, and how many runs failed."""
    from dark_halo_scope.generalisation.arms import choose
    from dark_halo_scope.generalisation.matrix import Matrix
    from dark_halo_scope.generalisation.page import write_page
    from dark_halo_scope.generalisation.runs import MatrixRun, finished_runs
    from dark_halo_scope.generalisation.summary import summarise
    from dark_halo_scope.generalisation.training import train_missing
    from dark_halo_scope.run import check, index_data
    from dark_halo_scope.stamps.index import LeakChecks

    check(cfg)
    if cfg.transforms.get("inject"):
        raise ConfigError(
            "transforms=online_injection would show every run the arcs that it is not to be shown, as it draws them "
            "from its own priors: choose other transforms"
        )
    index = index_data(cfg)
    checks = LeakChecks(cfg.data.region_column, cfg.data.host_column, cfg.data.on_split_leak)
    matrix = Matrix.open(out, index, checks, overrides)
    arms = choose(matrix.arms, matrix.impossible, names.split(",") if names else None)
    runs = [MatrixRun(arm, seed, out / "runs") for seed in seeds for arm in arms]
    failures = train_missing(runs, overrides, show=sys.stderr.isatty())
    summary = summarise(matrix, finished_runs(matrix, out / "runs"), failures, cfg.data.region_column)
    return write_page(out, summary), len(failures)


def _composed(overrides: list[str]) -> DictConfig:
    from dark_halo_scope.generalisation.runs import OWN_KEYS

    if own := [word for word in overrides if word.split("=")[0].lstrip("+") in OWN_KEYS]:
        raise ConfigError(f"{own[0]}: halo generalise sets this for each of its runs; see --arms, --seeds and --out")
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides)


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {text}: give whole numbers with commas between them") from None
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {text}: a seed is given twice")
    return seeds
