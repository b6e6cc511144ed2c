"""The shipped search on a job of a moment: python -m tests.search.app -m hparams_search=optuna ...

The best learning rate is 1e-3; JOB_SECONDS says how long a job takes.
"""

import math
import os
import time

import hydra
from omegaconf import DictConfig

from dark_halo_scope.configuration import plain_errors, register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="../../configs", config_name="train")
def main(cfg: DictConfig) -> float:
    time.sleep(float(os.environ.get("JOB_SECONDS", "0")))
    lr: float = cfg.optimizer.lr
    return 1.0 - abs(math.log10(lr) + 3) / 10


if __name__ == "__main__":
    with plain_errors():
        main()
