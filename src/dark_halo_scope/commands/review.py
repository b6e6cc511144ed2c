"""`halo review`: GO or NO-GO for a run, question by question, each answer with its evidence."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path

from dark_halo_scope.configuration import ConfigError


def add(commands: _SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "review",
        help="GO or NO-GO for a finished run, with the evidence for each of 26 questions",
        usage="halo review RUN [--data ROOT] [--out DIR] [--strict]",
        description="Ask of a run, its data and its checkpoint what a referee would: data, model, training, "
        "evaluation, "
        "distribution, science, code, publication. Each answer has what was measured, a verdict and what to do. Writes "
        "review.html, review.md and review.json. The data are audited where the run has no audit of them.",
        epilog="example: halo review logs/lens_resnet18/run",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--data", metavar="ROOT", help="data to judge it on (default: those it was trained on)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: review/ in the run folder)")
    parser.add_argument("--strict", action="store_true", help="end with exit code 1 at NO-GO")
    parser.set_defaults(run=run)


def run(arguments: Namespace, overrides: list[str]) -> None:
    """Review."""
    from dark_halo_scope.review.case import Case
    from dark_halo_scope.review.review import NO_GO, review_case

    if overrides:
        raise ConfigError(f"{overrides[0]}: halo review takes options only, no key=value")
    folder = arguments.run_dir.resolve()
    out = (arguments.out or folder / "review").resolve()
    review = review_case(Case(folder, arguments.data, out, progress=sys.stderr.isatty()))
    page = review.write(out)
    for answer in review.answers:
        if answer.stops:
            for check in answer.with_verdict(answer.verdict):
                sys.stdout.write(f"question {answer.number} fails: {answer.title} {check.name}: {check.finding}\n")
    tally = ", ".join(f"{len(numbers)} {verdict}" for verdict, numbers in review.record["tally"].items())
    sys.stdout.write(f"{review.record['verdict']} ({tally}); {page}\n")
    if arguments.strict and review.record["verdict"] == NO_GO:
        raise SystemExit(1)
