"""A review: every question asked of one case, and GO or NO-GO."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dark_halo_scope.audit.gates import CONCERN, FAIL, PASS, UNMEASURED
from dark_halo_scope.files import sha256, write_atomically, write_json
from dark_halo_scope.review.answers import Answer
from dark_halo_scope.review.case import Case
from dark_halo_scope.review.page import render_html, render_markdown
from dark_halo_scope.review.questions import QUESTIONS

GO, NO_GO = "GO", "NO-GO"
REVIEW_VERSION = 1  # counts up when the same run would be judged differently


@dataclass(frozen=True)
class Review:
    """The outcome.

    Attributes:
        answers: To all questions, in order.
        record: All of it but the plots, as it stands in ``review.json``.
    """

    answers: tuple[Answer, ...]
    record: dict[str, Any]

    def write(self, out: Path) -> Path:
        """Write ``review.html``, ``review.md`` and, last, ``review.json``; give the page."""
        write_atomically(out / "review.html", render_html(self.record, self.answers).encode())
        write_atomically(out / "review.md", render_markdown(self.record, self.answers).encode())
        write_json(out / "review.json", self.record)
        return out / "review.html"


def review_case(case: Case) -> Review:
    """Ask all questions."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not case.progress) as bar:
        task = bar.add_task("reviewing", total=len(QUESTIONS))
        for question in QUESTIONS:
            bar.update(task, description=f"{question.number}. {question.title}")
            case.answered.append(question.answer(case))
            bar.advance(task)
    answers = tuple(case.answered)
    stops = [answer.number for answer in answers if answer.stops]
    tally = {
        verdict: [a.number for a in answers if a.verdict == verdict] for verdict in (FAIL, CONCERN, UNMEASURED, PASS)
    }
    record = {
        "version": REVIEW_VERSION,
        "verdict": NO_GO if stops else GO,
        "stopped_by": stops,
        "tally": tally,
        "run": case.run.name,
        "folder_from_here": case.to_run,
        "command": case.provenance["command"],
        "checkpoint_sha256": sha256(case.run / "checkpoints" / "best.ckpt"),
        "scores_sha256": sha256(case.run / "scores.parquet"),
        "data": {"root": case.data_root, "fingerprint": case.index.fingerprint, "is_of_the_run": case.is_own_data},
        "stamps": {"seen": len(case.sample.rows), "scored_again": len(case.few_stamps.rows)},
        "questions": [answer.to_dict() for answer in answers],
    }
    return Review(answers, record)
