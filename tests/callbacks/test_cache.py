from lightning.pytorch import Callback

from dark_halo_scope.callbacks.cache import CacheUse
from dark_halo_scope.callbacks.history import MetricHistory
from dark_halo_scope.stamps.cache import CacheOptions, FileCache


class ReadsFromCache(Callback):
    """Gives the data a cache, of which each step uses two files and 1 GB."""

    def __init__(self, folder):
        self.cache = FileCache(CacheOptions(str(folder)))

    def on_fit_start(self, trainer, pl_module):
        trainer.datamodule.cache = self.cache

    def on_train_batch_end(self, *_):
        self.cache.counts.add("hits", 2)
        self.cache.counts.add("bytes_from_cache", 10**9)


def test_each_epoch_logs_its_own_counts(run, tmp_path):
    history = MetricHistory(str(run.folder))
    run.fit([ReadsFromCache(tmp_path), CacheUse(), history], max_epochs=2)
    logged = {name: [value for *_, value in values] for name, values in history.metrics.items() if "cache/" in name}
    assert logged == {
        "cache/hits": [12, 12],
        "cache/misses": [0, 0],
        "cache/gb_from_cache": [6, 6],
        "cache/gb_from_remote": [0, 0],
        "cache/gb_downloaded": [0, 0],
    }


def test_local_data_has_nothing_to_log(run):
    history = MetricHistory(str(run.folder))
    run.fit([CacheUse(), history], max_epochs=1)
    assert not [name for name in history.metrics if "cache/" in name]
