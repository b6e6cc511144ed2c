"""`halo import-windows`: a dataset of windows out of CSV recordings."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "import-windows",
        help="cut a folder of CSV recordings of sensors into labelled windows",
        usage="halo import-windows FOLDER OUT [key=value ...]",
        description="Cut CSV recordings, which hold a time, a label and the signals of some channels in each line, "
        "into windows that a run takes as data.root: resampled to one rate, none across a gap. "
        "What is left out is told. An interrupted import goes on where it stopped when the command is given again. "
        "Keys: time_column, time_unit (s, ms, us, ns), label_column, channels ([acc_x,acc_y], else every other column "
        "of numbers), participant_column, session_column, file_pattern (PARTICIPANT_SESSION.csv: how files are named), "
        "sampling_rate_hz, window_size, overlap, max_gap_s, on_label_change (drop or majority).",
        epilog="example: halo import-windows recordings windows file_pattern=PARTICIPANT/day-SESSION.csv "
        "time_unit=ms sampling_rate_hz=50 window_size=128 overlap=0.5",
    )
    parser.add_argument("folder", type=Path, help="folder with the recordings")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Import, and say what was made and what was left out."""
    from dark_halo_scope.windows.importer import ImportOptions, import_windows

    asked = OmegaConf.merge(OmegaConf.structured(ImportOptions), OmegaConf.from_dotlist(overrides))
    options = ImportOptions(**cast(dict[str, Any], OmegaConf.to_container(asked)))
    made = import_windows(arguments.folder, arguments.out, options)
    n_windows = sum(made.windows.values())
    sys.stdout.write(
        f"{n_windows:,} windows of {made.participants} participants in {made.sessions} sessions in {arguments.out}\n"
    )
    for label, number in made.windows.items():
        sys.stdout.write(f"{label}: {number:,}\n")
    for what, number in made.told.items():
        sys.stdout.write(f"{number:,} {what}\n")
