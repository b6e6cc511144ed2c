"""The arms of the comparison: the fine-tune modes, in the order and the words of the report."""

from dataclasses import dataclass

from dark_halo_scope.bases.modes import MODES, Mode

FULL = "full_fine_tuning"
TUNED = "target_only_fine_tuning"
ALONE = "target_only"
BASE = "base_only"
HEAD = "head_only"
PROBE = "linear_probe_then_fine_tuning"


@dataclass(frozen=True)
class Arm:
    """A fine-tune mode as one side of a comparison.

    Attributes:
        mode: The mode.
        title: In words.
        trained_on: What it starts from and learns from, in order.
    """

    mode: Mode
    title: str
    trained_on: str

    @property
    def has_base(self) -> bool:
        """Whether it starts from a base model; if not, it is the same whatever the number of base groups."""
        return self.mode.starts_from_base

    @property
    def has_labels(self) -> bool:
        """Whether it learns from labels of the target; if not, it is the same at every label budget."""
        return bool(self.mode.phases)


ARMS = {
    name: Arm(MODES[name], title, trained_on)
    for name, title, trained_on in (
        (FULL, "full fine-tuning", "base, then base and target together"),
        (TUNED, "target-only fine-tuning", "base, then target"),
        (ALONE, "target alone", "fresh weights, then target"),
        (BASE, "base alone", "the base as it is, no labels of the target; measured by every fine-tuning beforehand"),
        (HEAD, "head only", "base kept as it is, its last layer on the target"),
        (PROBE, "linear probe, then fine-tuning", "base, its last layer on the target, then all of it"),
    )
}

# What is tested. Other pairs are not: each more test costs all of them power (Holm).
PAIRS = (
    (FULL, ALONE),
    (TUNED, ALONE),
    (BASE, ALONE),
    (FULL, BASE),
    (TUNED, BASE),
    (FULL, TUNED),
    (HEAD, TUNED),
    (PROBE, TUNED),
)
REFERENCES = (BASE, ALONE)  # what a group could have had without being customised from a base: harm is measured to it
