"""The questions, in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dark_halo_scope.review import artefacts, data, distribution, evaluation, model, publication, science, training
from dark_halo_scope.review.answers import Answer, Check
from dark_halo_scope.review.case import Case


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        number: 1 to 26.
        section: Key of `answers.SECTIONS`.
        title: As it is asked.
        ask: Gives the checks that answer it.
        critical: Whether a fail is a NO-GO: no number of the run should then be quoted.
        needs_all: See `Answer`.
    """

    number: int
    section: str
    title: str
    ask: Callable[[Case], Iterator[Check]]
    critical: bool = False
    needs_all: bool = False

    def answer(self, case: Case) -> Answer:
        """Ask it."""
        return Answer(self.number, self.section, self.title, self.critical, self.needs_all, tuple(self.ask(case)))


QUESTIONS = (
    Question(1, "A", "Are stamps decoded right, and fast enough?", data.decoding, critical=True),
    Question(2, "A", "Is the normalisation right?", data.normalisation, critical=True),
    Question(3, "A", "Is the augmentation safe?", data.augmentation, critical=True),
    Question(4, "A", "Are labels and edge cases right?", data.labels, critical=True),
    Question(5, "B", "Is the stem right for 64 px?", model.stem),
    Question(6, "B", "Would pretrained weights help?", model.initialisation, needs_all=True),
    Question(7, "B", "Are head and loss right?", model.head_and_loss),
    Question(8, "C", "Is the schedule right?", training.schedule),
    Question(9, "C", "Is early stopping on this metric right?", training.early_stopping),
    Question(10, "C", "Is the gradient clip right?", training.clipping),
    Question(11, "C", "Are the search ranges right?", training.search_ranges),
    Question(12, "D", "Are metric and calibration right?", evaluation.metric_and_calibration),
    Question(13, "D", "Is the validation sound?", evaluation.validation, critical=True),
    Question(
        14, "D", "Is the threshold well chosen, and no rate claimed in vain?", evaluation.thresholds, critical=True
    ),
    Question(15, "E", "Do several ranks share the data right?", distribution.ranks, critical=True),
    Question(16, "E", "Is mixed precision right?", distribution.mixed_precision),
    Question(17, "E", "What speed is left?", distribution.speed),
    Question(18, "F", "Are the controls handled right, and is there no shortcut?", science.controls, critical=True),
    Question(19, "F", "Is what a paper needs validated?", science.before_publishing, needs_all=True),
    Question(20, "F", "Does it generalise beyond the injections?", science.generalisation, needs_all=True),
    Question(21, "G", "Do the files of the run agree?", artefacts.consistency, critical=True),
    Question(22, "G", "Is the checkpoint complete and safe to open?", artefacts.checkpoint, critical=True),
    Question(23, "G", "Is nothing dropped in silence?", artefacts.nothing_dropped, critical=True),
    Question(24, "H", "What more does a publication need?", publication.still_to_do, needs_all=True),
    Question(25, "H", "What are the largest risks?", publication.risks),
    Question(26, "H", "Is the practice that of the field?", publication.practice),
)
