"""`halo evaluate`: the numbers and the report of a score file, or the comparison of several."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dark_halo_scope.configuration import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from dark_halo_scope.evaluation.survey_yield import SkyAssumptions


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate",
        help="metrics, selection function and report of a score file; the comparison of several",
        usage="halo evaluate SCORES [SCORES ...] [--out DIR] [options]",
        description="Evaluate a score file with labels: metrics.json, selection_function.parquet and report.html. "
        "Calibrator and thresholds come from its validation stamps, or from --calibrated-by. "
        "Several score files of the same stamps are compared to the first of them.",
        epilog="example: halo evaluate logs/lens_resnet18/run/scores.parquet --data /data/phase4c; "
        "halo evaluate a.parquet b.parquet c.parquet --repeats",
    )
    parser.add_argument("scores", nargs="+", type=Path, help="score file of a run or of halo score")
    parser.add_argument("--out", type=Path, help="folder to write (default: evaluation/ beside the first score file)")
    parser.add_argument("--region-column", default="region_id", help="names the region of sky (default: %(default)s)")
    one = parser.add_argument_group("one score file")
    one.add_argument("--data", help="the stamps that were scored, for example images in the report")
    one.add_argument(
        "--calibrated-by", type=Path, metavar="METRICS", help="metrics.json to take calibrator and thresholds from"
    )
    one.add_argument("--method", default="temperature", help="of calibration: temperature (default) or isotonic")
    one.add_argument(
        "--audit", type=Path, metavar="DIR", help="folder of the audit of the data (default: that of the score file)"
    )
    density = one.add_mutually_exclusive_group()
    density.add_argument("--galaxies-per-deg2", type=float, help="galaxies to be searched (default: 605, DESI LRGs)")
    density.add_argument("--area-deg2", type=float, help="area that the test controls cover completely, to count them")
    one.add_argument(
        "--prevalence", type=float, nargs="+", default=[1e-4], help="fraction of lenses on the sky (default: 1e-4)"
    )
    one.add_argument(
        "--seconds-per-candidate", type=float, default=5.0, help="of visual inspection (default: %(default)s)"
    )
    several = parser.add_argument_group("several score files")
    several.add_argument(
        "--repeats", action="store_true", help="they differ in the training seed only: give the scatter"
    )
    several.add_argument("--split", default="test", help="stamps to compare on (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Evaluate or compare."""
    if overrides:
        raise ConfigError(f"{overrides[0]}: halo evaluate takes options only, no key=value")
    out = arguments.out or arguments.scores[0].resolve().parent / "evaluation"
    page = _evaluate(arguments, out) if len(arguments.scores) == 1 else _compare(arguments, out)
    sys.stdout.write(f"{page}\n")


def _evaluate(arguments: Namespace, out: Path) -> Path:
    from dark_halo_scope.commands.gallery import open_pixels
    from dark_halo_scope.evaluation import baseline
    from dark_halo_scope.evaluation.fitting import fit_on_validation, take_from
    from dark_halo_scope.evaluation.report import write_report
    from dark_halo_scope.evaluation.scores import read_scores
    from dark_halo_scope.evaluation.summary import evaluate_file

    path: Path = arguments.scores[0]
    table, origin = read_scores(path)
    fitted = (
        take_from(arguments.calibrated_by)
        if arguments.calibrated_by
        else fit_on_validation(table, str(path), arguments.method)
    )
    options: dict[str, Any] = {"region_column": arguments.region_column, "sky": _sky(arguments, table)}
    if arguments.audit:
        options["trivial_scores"] = baseline.find(arguments.audit)
    evaluate_file(path, out, *fitted, **options)
    return write_report(out, open_pixels(arguments.data, origin) if arguments.data else None, path)


def _sky(arguments: Namespace, table: "pa.Table") -> "SkyAssumptions":
    from dark_halo_scope.evaluation.scores import labelled_splits
    from dark_halo_scope.evaluation.survey_yield import SkyAssumptions

    common = {"prevalences": tuple(arguments.prevalence), "seconds_per_candidate": arguments.seconds_per_candidate}
    if arguments.galaxies_per_deg2 is not None:
        return SkyAssumptions(arguments.galaxies_per_deg2, "given with --galaxies-per-deg2", **common)
    if arguments.area_deg2 is not None:
        test = labelled_splits(table, str(arguments.scores[0])).get("test", table.slice(0, 0))
        n_controls = int((test["label"].to_numpy() == 0).sum())
        source = f"{n_controls} test controls over {arguments.area_deg2:g} square degrees, given with --area-deg2"
        return SkyAssumptions(n_controls / arguments.area_deg2, source, **common)
    return SkyAssumptions(**common)


def _compare(arguments: Namespace, out: Path) -> Path:
    from dark_halo_scope.evaluation.comparison import ScoreFile, compare, short_names
    from dark_halo_scope.evaluation.comparison_page import write_comparison

    names = short_names(arguments.scores)
    files = [ScoreFile.read(*named, arguments.split) for named in zip(names, arguments.scores, strict=True)]
    return write_comparison(out, compare(files, arguments.region_column, arguments.repeats))
