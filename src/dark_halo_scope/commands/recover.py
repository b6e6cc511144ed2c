"""`halo recover`: which known lenses does a finder recover?"""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from dark_halo_scope.configuration import ConfigError


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "recover",
        help="recall of the known lenses of a catalogue among scored stamps",
        usage="halo recover SCORES CATALOGUE [--calibrated-by FILE] [--out DIR] [options]",
        description="Match the lenses of a catalogue (CSV, parquet or FITS; stamp_id, or ra and dec in degrees; grade "
        "and tier where known) to scored stamps: recovery.json and recovery.html with recall by tier and grade, ranks, "
        "and the missed lenses. Lenses without a scored stamp are named, not counted as missed. Tiers: primary for "
        "lenses discovered from the ground, stress for those of small separation discovered from space.",
        epilog="example: halo recover scores.parquet known.csv --calibrated-by logs/lens_resnet18/run/scores.parquet",
    )
    parser.add_argument("scores", type=Path, metavar="SCORES", help="score file of halo score or of a run")
    parser.add_argument("catalogue", type=Path, metavar="CATALOGUE", help="of known lenses")
    parser.add_argument("--out", type=Path, help="folder to write (default: recovery/ beside the score file)")
    parser.add_argument("--id-column", help="column of both files that names a stamp (default: stamp_id)")
    parser.add_argument(
        "--radius-arcsec", type=float, default=3.0, help="of a match by position (default: %(default)s)"
    )
    parser.add_argument(
        "--calibrated-by",
        type=Path,
        metavar="FILE",
        help="labelled score file of the same checkpoint, or metrics.json of an evaluation, to take thresholds from "
        "(default: the validation stamps of SCORES)",
    )
    parser.add_argument("--fpr", type=float, nargs="+", default=[], help="false-positive rates to set thresholds for")
    parser.add_argument(
        "--fp-per-deg2", type=float, nargs="+", default=[], help="false positives per square degree to set them for"
    )
    parser.add_argument("--galaxies-per-deg2", type=float, help="galaxies to be searched (default: 605, DESI LRGs)")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Match, count, write."""
    from dark_halo_scope.evaluation.scores import read_scores
    from dark_halo_scope.evaluation.survey_yield import LRG_PER_DEG2
    from dark_halo_scope.files import sha256
    from dark_halo_scope.recovery.catalogue import KnownLenses
    from dark_halo_scope.recovery.matching import match
    from dark_halo_scope.recovery.page import write_page
    from dark_halo_scope.recovery.recall import recovery
    from dark_halo_scope.recovery.thresholds import thresholds_for

    if overrides:
        raise ConfigError(f"{overrides[0]}: halo recover takes options only, no key=value")
    scores, origin = read_scores(arguments.scores)
    known = KnownLenses.read(arguments.catalogue, arguments.id_column)
    matches = match(known, scores, arguments.id_column, arguments.radius_arcsec)
    thresholds = thresholds_for(
        scores,
        origin,
        arguments.scores,
        arguments.calibrated_by,
        arguments.fpr,
        arguments.fp_per_deg2,
        arguments.galaxies_per_deg2 or LRG_PER_DEG2,
    )
    found = recovery(known, matches, scores, *thresholds)
    for name in ("scores", "catalogue"):
        path: Path = getattr(arguments, name)
        found[name] = {"path": str(path), "name": path.name, "sha256": sha256(path)}
    out = arguments.out or arguments.scores.resolve().parent / "recovery"
    sys.stdout.write(f"{write_page(out, found)}\n")
