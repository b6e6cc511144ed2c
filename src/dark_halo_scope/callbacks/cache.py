"""What the cache of remote files was good for, epoch by epoch."""

from typing import Any

from lightning.pytorch import Callback, LightningModule

COUNTS = {
    "hits": 1.0,
    "misses": 1.0,
    "bytes_from_cache": 1e-9,
    "bytes_from_remote": 1e-9,
    "bytes_downloaded": 1e-9,
}


class CacheUse(Callback):
    """Logs an epoch's counts of the datamodule's cache, over all ranks: ``cache/hits``, ``cache/gb_from_cache`` ...

    A dataset that is local, or streamed without a cache, has none.
    """

    def __init__(self) -> None:
        self._before = dict.fromkeys(COUNTS, 0)

    def on_train_epoch_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """Log what was counted since the last epoch, validation and downloads included."""
        cache = trainer.datamodule.cache
        if cache is None:
            return
        for name, unit in COUNTS.items():
            count = cache.counts[name]
            shown = name.replace("bytes", "gb")
            pl_module.log(f"cache/{shown}", unit * (count - self._before[name]), sync_dist=True, reduce_fx="sum")
            self._before[name] = count
