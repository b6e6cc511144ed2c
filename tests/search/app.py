"""The shipped search on a job of a moment: `tests.search.searches` forks it with -m hparams_search=optuna ...

The best learning rate is 1e-3; JOB_SECONDS says how long a job takes.
"""

import math
import multiprocessing
import os
import sys
import time
from pathlib import Path

import hydra
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from dark_halo_scope.configuration import register_resolvers

FORK = multiprocessing.get_context("fork")

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(Path(__file__).parent), config_name="job")
def main(cfg: DictConfig) -> float:
    time.sleep(float(os.environ.get("JOB_SECONDS", "0")))
    lr: float = cfg.optimizer.lr
    return 1.0 - abs(math.log10(lr) + 3) / 10


class Elsewhere(BasicLauncher):
    """`hydra/launcher=elsewhere`: another process runs the job and sends back its outcome, as under joblib or SLURM."""

    __module__ = "hydra_plugins.elsewhere"  # Hydra takes plugins from this package only

    def launch(self, job_overrides, initial_job_idx):
        here, there = FORK.Pipe()
        launch = super().launch
        process = FORK.Process(target=lambda: there.send(launch(job_overrides, initial_job_idx)))
        process.start()
        returned = here.recv()
        process.join()
        return returned


sys.modules[Elsewhere.__module__] = sys.modules[__name__]
Plugins.instance().register(Elsewhere)
ConfigStore.instance().store(
    group="hydra/launcher", name="elsewhere", node={"_target_": f"{Elsewhere.__module__}.{Elsewhere.__name__}"}
)
