"""`halo export`: a checkpoint as ONNX, with an int8 variant and a model card."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export",
        help="write a checkpoint as ONNX, with an int8 variant and a model card",
        usage="halo export CHECKPOINT OUT [--data DATA] [--stamps N] [--licence TEXT]",
        description="Write model.onnx (raw nanomaggies in, logit and calibrated probability out, any batch size), "
        "model.int8.onnx and a model card into a folder. Both are checked and measured on validation stamps.",
        epilog="example: halo export logs/lens_resnet18/run/checkpoints/best.ckpt exported --licence CC-BY-4.0",
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="calibrated: the best.ckpt of a finished run"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--data", help="labelled dataset to measure on (default: what the checkpoint was trained on)")
    parser.add_argument(
        "--stamps", type=int, default=10_000, help="most validation stamps to measure on (default: %(default)s)"
    )
    parser.add_argument("--licence", default="not stated", help="of the weights, for the model card")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Export."""
    from dark_halo_scope.export.finder import ExportError
    from dark_halo_scope.export.run import Export, export

    if overrides:
        raise ExportError(f"{overrides[0]}: halo export takes options only, no key=value")
    card = export(Export(arguments.checkpoint, arguments.out, arguments.data, arguments.stamps, arguments.licence))
    fidelity, int8 = card["fidelity"], card["int8"]
    sys.stdout.write(
        f"{arguments.out}: logits within {fidelity['max_logit_difference']:.1e} of PyTorch on "
        f"{fidelity['n_stamps']:,} stamps\n"
    )
    for loss in int8["measured"][int8["chosen"]]["tpr"]:
        told = "" if loss["supported"] else " (too few controls to say)"
        sys.stdout.write(
            f"int8 ({int8['chosen']}): TPR at FPR {loss['fpr']:g} {loss['before']:.4f} -> {loss['after']:.4f}{told}\n"
        )
