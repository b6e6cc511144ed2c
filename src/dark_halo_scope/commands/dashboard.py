"""`halo dashboard`: the Weights & Biases workspace that shows the runs of a project."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from dark_halo_scope.configuration import register_resolvers

OFFLINE_FILE = Path("dashboard.json")


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "dashboard",
        help="lay out the Weights & Biases workspace of a project",
        usage="halo dashboard [--entity NAME] [--project NAME] [--out FILE] [key=value ...]",
        description="Save a workspace with the sections training, calibration, errors, sweep, throughput and "
        "provenance in the W&B project of the runs. Each call saves another view and changes none: delete those no "
        "longer wanted on the project's page. Without a key for W&B, or with --out, it is written as JSON. key=value "
        "is what python sweep.py takes: the sweep section shows the parameters and the objective of that search.",
        epilog="example: halo dashboard --entity lens-team search_space=small monitor.metric=val/pauc_fpr_1e-2",
    )
    parser.add_argument("--entity", help="user or team (default: that of the key)")
    parser.add_argument("--project", help="project (default: that of the runs, logger.wandb.project)")
    parser.add_argument("--out", type=Path, help="write JSON into this file, save nothing")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Build, then save or write."""
    from dark_halo_scope.dashboards.dashboard import build, default_entity, save, write
    from dark_halo_scope.loggers.wandb import mode_by_key
    from dark_halo_scope.search.command import compose_search, with_search

    register_resolvers()
    config = compose_search(with_search(overrides))
    online = arguments.out is None and mode_by_key() == "online"
    entity = arguments.entity or (default_entity() if online else "")
    workspace = build(config, overrides, entity, arguments.project)
    if online:
        sys.stdout.write(f"dashboard: {save(workspace)}\n")
        return
    out = arguments.out or OFFLINE_FILE
    write(workspace, out)
    n_panels = sum(len(section.panels) for section in workspace.sections)
    sys.stdout.write(f"{len(workspace.sections)} sections with {n_panels} panels in {out}\n")
    if arguments.out is None:
        sys.stdout.write("W&B is offline here: with a key (`wandb login`) the same command saves the dashboard\n")
