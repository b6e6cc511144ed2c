"""The fine-tune modes: where the weights come from, what is learnt from, and which part of the network learns."""

import difflib
from dataclasses import dataclass
from typing import Literal

Part = Literal["head", "all"]


class ModeError(ValueError):
    """A fine-tune mode that is unknown, or settings that make no sense in it."""


@dataclass(frozen=True)
class Mode:
    """One way to customise a network to a target.

    Attributes:
        name: In configs, labels and tables.
        starts_from_base: Whether it starts from the weights of a base model; if not, from fresh ones.
        learns_from_base: Whether the base groups' training rows are shown again, together with the target's.
        phases: Which part of the network learns, one training after the other; none: it is tested as it is.
    """

    name: str
    starts_from_base: bool = True
    learns_from_base: bool = False
    phases: tuple[Part, ...] = ("all",)


MODES = {
    mode.name: mode
    for mode in (
        Mode("full_fine_tuning", learns_from_base=True),
        Mode("target_only_fine_tuning"),
        Mode("target_only", starts_from_base=False),
        Mode("base_only", phases=()),
        Mode("head_only", phases=("head",)),
        Mode("linear_probe_then_fine_tuning", phases=("head", "all")),  # Kumar et al. 2022, section 3.4
    )
}


def mode_named(name: str) -> Mode:
    """The mode of a name.

    Raises:
        ModeError: There is none.
    """
    if name not in MODES:
        meant = difflib.get_close_matches(name, MODES, n=1)
        raise ModeError(
            f"finetune.mode={name} is unknown; {f'did you mean {meant[0]}? ' if meant else ''}choose one of "
            f"{', '.join(MODES)}"
        )
    return MODES[name]
