"""Stamps to inject arcs on, and the injection as it is configured."""

import torch

from dark_halo_scope.transforms.hosts import Hosts, measure_hosts
from dark_halo_scope.transforms.inject import GRID, OnlineInjection
from dark_halo_scope.transforms.normalise import annulus_pixels, median_and_mad
from tests.tasks.composed import composed

ROWS = torch.arange(24) * 7919


def controls_and_lenses() -> dict[str, torch.Tensor]:
    """Hosts of r = 18.9 in sky noise, controls and lenses by turns, a stripe without data in the first."""
    generator = torch.Generator().manual_seed(5)
    axis = GRID.axis(1)
    core = torch.exp(-torch.hypot(axis, axis[:, None]) / 0.7) * torch.tensor([0.15, 0.6, 1.2])[:, None, None]
    noise = torch.randn(24, 3, 64, 64, generator=generator) * torch.tensor([0.004, 0.006, 0.013])[:, None, None]
    images = core + noise + 0.001
    images[0, 1, :, 30:33] = 0
    return {"image": images, "label": torch.arange(24) % 2, "row": ROWS}


def injection(**overrides) -> OnlineInjection:
    config = composed("small_cnn", "online_injection")["transforms"]["inject"]
    del config["_target_"]
    return OnlineInjection(**(config | overrides))


def with_arcs(inject, batch, chosen, keys, fwhm_r=1.2) -> dict[str, torch.Tensor]:
    """The batch after injection on the stamps at the places `chosen`, all under one seeing or each under its own."""
    weights = torch.tensor([1.5, 0.5]).expand(len(batch["label"]), 2)
    chosen = {"chosen": chosen, "fwhm_r": torch.as_tensor(fwhm_r).expand(len(chosen)), "weights": weights}
    return inject(batch | chosen, keys)


def host_of(batch) -> Hosts:
    sky, _ = median_and_mad(batch["image"].flatten(2)[..., annulus_pixels(20, 64)])
    return measure_hosts(GRID, batch["image"][:, 1] - sky[:, 1, None, None])
