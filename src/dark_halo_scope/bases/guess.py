"""What making an artefact takes, guessed from like ones that are there."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dark_halo_scope.bases.canonical import canonical_json
from dark_halo_scope.bases.manifest import SPEC, Manifest
from dark_halo_scope.bases.spec import SCHEMA, BaseSpec
from dark_halo_scope.bases.store import BaseStore

# what the time of a base training hangs on, beside the number of its groups
_TAKES_TIME = ("data_fingerprint", "model", "augmentation", "batch_size", "max_epochs", "early_stop", "precision")


@dataclass(frozen=True)
class Cost:
    """Of one artefact.

    Attributes:
        hours: Of one device.
        n_bytes: On the disk.
        device: Name of the GPU, or ``CPU``, of the machine that it was made on.
    """

    hours: float
    n_bytes: int
    device: str


class BaseCosts:
    """Knows the base models of a store; those of the same network, schedule and data are alike.

    The time of an epoch goes with the number of rows, so with that of groups.
    """

    def __init__(self, store: BaseStore) -> None:
        self._like: dict[str, list[tuple[int, Cost]]] = defaultdict(list)  # number of groups, cost
        for key in store.keys() if store.root.is_dir() else ():
            spec = json.loads((store.folder(key) / SPEC).read_text())
            if spec.get("schema") == SCHEMA:  # nothing is like what another version made
                self._like[_kind(spec)].append((len(spec["groups"]), _cost(store, key)))

    def guess(self, spec: BaseSpec) -> Cost | None:
        """Of a base model that is not there; None where none like it is."""
        like = self._like.get(_kind(spec.to_dict()))
        if like is None:
            return None
        hours = statistics.median(cost.hours / n_groups for n_groups, cost in like) * len(spec.groups)
        return Cost(hours, _median_bytes(cost for _, cost in like), like[-1][1].device)


class TuningCosts:
    """Is told of the fine-tunings of a plan that are there; those of the same mode are alike."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store
        self._like: dict[Any, list[Cost]] = defaultdict(list)

    def learn(self, key: str, mode: Any) -> None:
        """Take note of one that is there."""
        self._like[mode].append(_cost(self._store, key))

    def guess(self, mode: Any) -> Cost | None:
        """Of one that is not; None where none like it is."""
        like = self._like.get(mode)
        if like is None:
            return None
        return Cost(statistics.median(cost.hours for cost in like), _median_bytes(like), like[-1].device)


def _kind(spec: Mapping[str, Any]) -> str:
    return canonical_json([spec[name] for name in _TAKES_TIME])


def _cost(store: BaseStore, key: str) -> Cost:
    manifest = Manifest.read(store.folder(key))
    gpus = manifest.origin["hardware"]["gpus"]
    return Cost(manifest.seconds / 3600, manifest.n_bytes, gpus[0] if gpus else "CPU")


def _median_bytes(costs: Iterable[Cost]) -> int:
    return int(statistics.median(cost.n_bytes for cost in costs))
