"""The command `halo`: everything that is not training."""

import argparse

from dark_halo_scope.commands import (
    audit,
    bases,
    dashboard,
    evaluate,
    export,
    gallery,
    generalise,
    import_windows,
    monitor,
    prepare,
    recover,
    review,
    score,
    simulate,
)
from dark_halo_scope.configuration import plain_errors

# In the order of the help.
COMMANDS = (
    simulate,
    import_windows,
    audit,
    prepare,
    monitor,
    dashboard,
    score,
    evaluate,
    gallery,
    generalise,
    recover,
    review,
    export,
    bases,
)


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="halo", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    arguments, overrides = parser.parse_known_args()  # argparse itself takes no positionals after an option
    if unknown := [word for word in overrides if word.startswith("-") or "=" not in word]:
        parser.error(f"{unknown[0]} is neither an option nor key=value")
    with plain_errors():
        arguments.run(arguments, overrides)
