"""`halo monitor`: how a run fares, and what to do about it."""

import json
import sys
import time
from argparse import Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from dark_halo_scope.configuration import ConfigError

if TYPE_CHECKING:
    from dark_halo_scope.monitoring.view import View

LOOK_EVERY_S = 5.0  # as often as a run writes
PIPE_WIDTH = 120  # characters, where there is no terminal to ask


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "monitor",
        help="how a run fares while it trains, and what to do about it",
        usage="halo monitor RUN [--watch | --json]",
        description="Look at a run: running, stalled, dead, failed or finished; progress and time left; plateau, "
        "overfitting, unstable training, waiting for data, GPU memory, early stopping; and for each what to do. "
        "Exit code: 0 healthy or finished, 1 warnings, 2 refused, 3 critical (stalled, dead, failed, NaN).",
        epilog="example: halo monitor logs/lens_resnet18 --watch; halo monitor logs/search/lens_resnet18",
    )
    parser.add_argument(
        "target", metavar="RUN", help="run folder, folder of runs or of a search, or storage URL of a study"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--watch",
        action="store_true",
        help="wait for a run to begin, then look every few seconds as long as anything runs",
    )
    how.add_argument("--json", action="store_true", help="print plain data, for scripts")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Look once, or again and again; leave with the exit code of the gravest finding."""
    from rich.console import Console

    from dark_halo_scope.monitoring.view import look

    if overrides:
        raise ConfigError(f"{overrides[0]}: halo monitor takes options only, no key=value")
    view = look(arguments.target, time.time(), or_none=arguments.watch)
    if arguments.json:
        sys.stdout.write(json.dumps(view.to_record(), indent=2, allow_nan=False) + "\n")
    elif arguments.watch:
        view = _watch(arguments.target, view)
    else:
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(view.render())
    raise SystemExit(view.exit_code)


def _watch(target: str, view: "View") -> "View":
    """Keep the screen up to date, from before a run begins until nothing runs any more, or until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from dark_halo_scope.monitoring.view import look

    with Live(console=Console(), auto_refresh=False) as screen:
        try:
            screen.update(view.render(screen.console.height), refresh=True)
            while view.is_going_on:
                time.sleep(LOOK_EVERY_S)
                view = look(target, time.time(), or_none=True)
                screen.update(view.render(screen.console.height), refresh=True)
        except KeyboardInterrupt:
            return view
    return view
