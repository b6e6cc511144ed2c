"""Dark Halo Scope on the training store that `halo prepare` writes."""

from functools import partial
from pathlib import Path

from benchmarks.contender import Contender
from benchmarks.peers.direct import nanomaggies, open_training
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare


def _convert(precision: str, source: Path, folder: Path) -> None:
    prepare(str(source), folder, StoreOptions(precision=precision), progress=False)


CONTENDERS = [
    Contender(f"store {precision} (ours)", precision, partial(_convert, precision), open_training, nanomaggies)
    for precision in ("float16", "float32")
]
