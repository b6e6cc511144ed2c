"""`halo score`: the score file of any stamps."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from dark_halo_scope.configuration import CONFIGS


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "score",
        help="score any stamps with one checkpoint or an ensemble",
        usage="halo score CHECKPOINT [CHECKPOINT ...] DATA [--out SCORES] [options]",
        description="Write logits, calibrated probabilities and everything that the data say of each stamp to a "
        "parquet file. Stamps are normalised as in training. A cutout that cannot be used is not scored but told, with "
        "the reason, in SCORES.quarantine.jsonl. An interrupted command goes on where it stopped when given again.",
        epilog="example: halo score logs/lens_resnet18/*/checkpoints/best.ckpt s3://bucket/stamps --tta d4",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        type=Path,
        metavar="CHECKPOINT",
        help="several make an ensemble: the mean of the logits",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="parquet of stamps (labels may be missing), training store, folder of FITS cutouts, or a catalogue (CSV, "
        "parquet, FITS table) of cutouts",
    )
    parser.add_argument("--out", type=Path, default=Path("scores.parquet"), help="file to write (default: %(default)s)")
    parser.add_argument(
        "--tta", default="none", help="d4: mean logit over the eight orientations; eight times the work"
    )
    parser.add_argument("--split", help="score one split only: train, val or test (default: every row)")
    parser.add_argument("--devices", default="auto", help="GPUs, or processes on the CPU (default: all GPUs, else 1)")
    parser.add_argument(
        "--precision", default="auto", help="32-true, bf16-mixed or 16-mixed (default: the fastest native one)"
    )
    parser.add_argument(
        "--calibrate-on",
        type=Path,
        metavar="SCORES",
        help="score file of the same checkpoints: probabilities by a temperature fitted to the mean logits of its "
        "validation stamps, instead of by the calibrators of the checkpoints",
    )
    parser.add_argument("--path-column", default="path", help="column of a catalogue that holds paths (default: path)")
    parser.add_argument("--batch-size", type=int, default=256, help="stamps (default: %(default)s)")
    parser.add_argument(
        "--part-stamps", type=int, default=4096, help="stamps that are kept as one part (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Score."""
    from omegaconf import DictConfig, OmegaConf

    from dark_halo_scope import hardware
    from dark_halo_scope.scoring.assemble import quarantine_path
    from dark_halo_scope.scoring.job import ScoringError, ScoringJob
    from dark_halo_scope.scoring.run import score

    if overrides:
        raise ScoringError(f"{overrides[0]}: scores take no key=value; the settings are those of the checkpoint")
    asked = OmegaConf.load(CONFIGS / "hardware" / "auto.yaml")
    assert isinstance(asked, DictConfig)
    asked.update(devices=arguments.devices, precision=arguments.precision)
    machine = hardware.resolve(asked)
    job = ScoringJob(
        checkpoints=tuple(arguments.checkpoints),
        data=arguments.data,
        path_column=arguments.path_column,
        split=arguments.split,
        tta=arguments.tta,
        precision=machine.precision,
        device="cuda" if machine.accelerator == "gpu" else "cpu",
        compiled=machine.compiled,
        batch_size=arguments.batch_size,
        part_stamps=arguments.part_stamps,
    )
    done = score(job, machine, arguments.out, calibrate_on=arguments.calibrate_on, progress=sys.stderr.isatty())
    counts = done.provenance["counts"]
    if done.stamps_per_s is None:
        sys.stdout.write(f"nothing left to score for {arguments.out}\n")
    else:
        sys.stdout.write(f"{done.stamps_per_s:,.0f} stamps/s on {machine.devices} x {machine.device_name}\n")
    sys.stdout.write(f"{counts.pop('scored'):,} stamps scored in {arguments.out}\n")
    for what, n_rows in counts.items():
        if n_rows:
            sys.stdout.write(f"{what}: {n_rows:,} rows\n")
    if quarantine_path(arguments.out).exists():
        sys.stdout.write(f"not scored, or repaired before: {quarantine_path(arguments.out)}\n")
    sys.stdout.write(f"probability: calibrated on {done.provenance['calibration']['of']}\n")
