"""`halo gallery`: a page to inspect and grade the stamps of a score file."""

import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dark_halo_scope.configuration import ConfigError

if TYPE_CHECKING:
    from dark_halo_scope.evaluation.examples import ReadStamps


class GalleryError(ValueError):
    """Pictures that cannot be made."""


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "gallery",
        help="a page for visual inspection: candidates, false positives, missed lenses, graded by keyboard",
        usage="halo gallery SCORES DATA [--out gallery.html] [options]",
        description="Write one HTML file that shows the top candidates of a score file, its worst false positives and "
        "missed lenses, and takes grades by keyboard (A, B, C, N), saved as CSV. It needs no server and no network.",
        epilog="example: halo gallery logs/lens_resnet18/run/scores.parquet /data/phase4c --out gallery.html",
    )
    parser.add_argument("scores", type=Path, help="score file of a run or of halo score")
    parser.add_argument("data", help="the stamps that were scored: folder, file or URI")
    parser.add_argument("--out", type=Path, default=Path("gallery.html"), help="page to write (default: %(default)s)")
    parser.add_argument("--n", type=int, default=70, help="stamps of each kind at most (default: %(default)s)")
    parser.add_argument("--split", help="stamps to choose from (default: test where labelled, else all)")
    parser.add_argument(
        "--threshold", type=float, help="logit from which a stamp is found (default: 1 %% of the controls pass it)"
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Write the page."""
    from dark_halo_scope.evaluation.gallery import KINDS, write_gallery
    from dark_halo_scope.evaluation.scores import read_scores

    if overrides:
        raise ConfigError(f"{overrides[0]}: halo gallery takes options only, no key=value")
    if arguments.n < 1:
        raise GalleryError(f"--n {arguments.n}: a gallery needs at least one stamp of each kind")
    _, origin = read_scores(arguments.scores)
    read_stamps = open_pixels(arguments.data, origin)
    chosen = write_gallery(
        arguments.out, arguments.scores, read_stamps, arguments.n, arguments.split, arguments.threshold
    )
    for kind, title in KINDS.items():
        n_shown = sum(kind in kinds for kinds in chosen.kinds)
        sys.stdout.write(f"{title}: {n_shown:,} of {chosen.n_total[kind]:,}\n")
    size = arguments.out.stat().st_size / 2**20
    sys.stdout.write(f"{arguments.out}: {chosen.table.num_rows:,} stamps, {size:.1f} MiB\n")


def open_pixels(data: str, origin: Mapping[str, Any]) -> "ReadStamps":
    """What reads pixels by row, checked against the dataset that the score file says it was made from.

    Args:
        data: the stamps: see `stamps.source.open_source`.
        origin: provenance of the score file.

    Raises:
        GalleryError: it is another dataset, whose rows are other stamps.
    """
    import numpy as np
    from numpy.typing import NDArray

    from dark_halo_scope.stamps.contract import STAMP_SHAPE
    from dark_halo_scope.stamps.decoder import QUARANTINED
    from dark_halo_scope.stamps.source import open_source

    source = open_source(data)
    scored = origin.get("data_fingerprint")
    if scored is not None and scored != source.fingerprint:
        raise GalleryError(
            f"{data} is not the dataset that was scored (fingerprint {source.fingerprint[:12]}, scored {scored[:12]}): "
            "its rows are other stamps; give the scored one"
        )

    def read_stamps(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        order = np.argsort(rows)  # so that each row group is read once
        decoded = np.empty((len(rows), *STAMP_SHAPE), np.float32)
        for fault in source.reader(1, max_nonfinite_fraction=1.0).decode(np.asarray(rows)[order], decoded):
            if fault.action == QUARANTINED:
                raise GalleryError(f"row {fault.row} of {data} cannot be shown: {fault.message}")
        images = np.empty_like(decoded)
        images[order] = decoded
        return images

    return read_stamps
