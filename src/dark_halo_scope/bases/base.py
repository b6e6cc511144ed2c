"""One artefact of a store, and what makes it that one."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dark_halo_scope.bases.manifest import Manifest
from dark_halo_scope.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.pt"


class Spec(Protocol):
    """What determines an artefact, all of it and nothing else, such as a `BaseSpec`."""

    def key(self) -> str:
        """`canonical.content_key` of what `to_json` says."""

    def to_json(self) -> str:
        """All of it, as JSON."""


@dataclass(frozen=True)
class Base:
    """A verified artefact.

    Attributes:
        key: Its name.
        folder: Where it lies; not to be written to.
        manifest: See `Manifest`.
    """

    key: str
    folder: Path
    manifest: Manifest

    @property
    def metrics(self) -> dict[str, Any]:
        """What its training measured."""
        return self.manifest.metrics

    def weights(self) -> "dict[str, Tensor]":
        """State dict, on the CPU; nothing in the file can run code."""
        import torch

        weights: dict[str, Tensor] = torch.load(self.folder / WEIGHTS, map_location="cpu", weights_only=True)
        return weights


def save_weights(weights: "Mapping[str, Tensor]", folder: Path) -> None:
    """Write a state dict where `Base.weights` finds it.

    Raises:
        WriteError: The disk does not take it.
    """
    import torch

    buffer = io.BytesIO()  # a full disk is an error of torch's own making, else
    torch.save(dict(weights), buffer)
    write_atomically(folder / WEIGHTS, buffer.getvalue())
