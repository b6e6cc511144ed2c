"""The shipped launchers on toys: python -m tests.bases.app -m hydra/launcher=ray_graph data.batch_size=1,2 seed=1,2."""

import hydra
from omegaconf import DictConfig

from dark_halo_scope.configuration import plain_errors, register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="../../configs", config_name="train")
def main(cfg: DictConfig) -> None:
    raise AssertionError("the launcher runs no task of Hydra's")


if __name__ == "__main__":
    with plain_errors():
        main()
