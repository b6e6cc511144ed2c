"""Search for the settings that train best: python sweep.py experiment=lens_resnet18 search.n_trials=50 (see --help)."""

import argparse
from pathlib import Path

from dark_halo_scope.configuration import plain_errors, register_resolvers


def main() -> int:
    """Read the command line and do one of four things."""
    parser = argparse.ArgumentParser(
        usage="sweep.py [--workers N] [key=value ...] | --resume FOLDER | --status FOLDER | --export FOLDER FILE",
        description="Search with a live table, and end with a page (search.html) and the command to train with. "
        "key=value is Hydra's, as for train.py; one that sweeps joins the space. Ctrl-C stops, --resume goes on.",
        epilog="example: sweep.py --workers 2 experiment=lens_resnet18 search_space=small search.n_trials=30 "
        "optimizer.lr='tag(log, interval(1e-4, 1e-3))'",
        allow_abbrev=False,
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that share the search on this host")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a search, with its own settings")
    parser.add_argument("--status", type=Path, metavar="FOLDER", help="show the table of a search and end")
    parser.add_argument(
        "--export", type=Path, nargs=2, metavar=("FOLDER", "FILE"), help="write all trials as CSV and end"
    )
    arguments, overrides = parser.parse_known_args()
    if unknown := [word for word in overrides if word.startswith("-") or "=" not in word]:
        parser.error(f"{unknown[0]} is neither an option nor key=value")
    register_resolvers()
    from dark_halo_scope.search import command  # imports optuna: only once the command line stands

    if arguments.status:
        return command.status(arguments.status)
    if arguments.export:
        return command.export(*arguments.export)
    if arguments.resume:
        overrides = command.kept_overrides(arguments.resume, overrides)
    return command.search(overrides, arguments.workers)


if __name__ == "__main__":
    with plain_errors():
        raise SystemExit(main())
