"""Train one lens finder, or with -m many: python train.py experiment=lens_resnet18 (see --help)."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dark_halo_scope.configuration import plain_errors, register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> float:
    """Run one composed config; returns the monitored metric for whoever optimises it."""
    cfg.paths.run_dir = HydraConfig.get().runtime.output_dir
    from dark_halo_scope.run import run  # imports torch: only once the config stands

    return run(cfg)


if __name__ == "__main__":
    with plain_errors():
        main()
