"""Fresh arcs on control stamps, rendered on the device: no two epochs see the same arc.

The physics is that of `sky` (the same deflection, light, PSF and pixels); what a batch does not tell is measured on
the stamp or drawn from the survey's distributions:

- the host's r flux, centre and direction are measured (`hosts`): the source is fainter than its host by `src_dmag`;
- the PSF is drawn from the survey's seeing (`arcs`), since a batch holds no seeing of its own;
- the arc's photon noise comes from the electrons per nanomaggy of an exposure as deep as the stamp's sky noise says.
  The rest of the stamp has its noise already. Pixels without data (exactly 0) stay so.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dark_halo_scope.sky.footprint import MEDIAN_FWHM_ARCSEC, MOFFAT_BETA_RANGE
from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.noise import ELECTRONS_PER_NANOMAGGY, REFERENCE_DEPTH_MAG, inverse_variance, pixel_sigma
from dark_halo_scope.sky.priors import SurveyConfigError
from dark_halo_scope.sky.psf import moffat, noise_pixels
from dark_halo_scope.sky.render import arc_raster
from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE
from dark_halo_scope.stamps.store.statistics import SKY_RADIUS_PX
from dark_halo_scope.transforms.arcs import continuous_priors, draw_arcs, draw_psf
from dark_halo_scope.transforms.draws import normals, split_keys, uniforms
from dark_halo_scope.transforms.hosts import measure_hosts
from dark_halo_scope.transforms.normalise import MAD_TO_SIGMA, annulus_pixels, median_and_mad

GRID = StampGrid(size=STAMP_SIZE, pixel_arcsec=PIXEL_SCALE_ARCSEC)

_CHOICE, _LENSES, _PHOTONS = range(3)  # streams of keys
_AT_ONCE, _AT_ONCE_ON_CPU = 64, 8  # stamps; work arrays of 40 MB fill a GPU, those of 5 MB stay in a CPU's cache
_LEAST_SIGMA_NMGY = 1e-4  # a constant sky, as over the survey's edge, does not make an infinitely deep exposure
_R = BANDS.index("r")


class OnlineInjection(nn.Module):
    """Makes lenses of some controls of a training batch; lenses that are in the batch stay as they are.

    Args:
        fraction: Of the controls, in [0, 1]; each control is drawn anew in every epoch.
        lens_models: SIE, SIS or both, equally often.
        theta_e_arcsec: Bounds of the Einstein radius.
        src_dmag: Bounds of the source's r magnitude minus the host's.
        src_reff_arcsec: Bounds of the source's half-light radius.
        src_sersic: Bounds of its Sersic index.
        max_offset: Largest offset of the source from the lens, in Einstein radii.

    Raises:
        SurveyConfigError: When the priors cannot be rendered.
    """

    annulus: Tensor
    electrons_times_variance: Tensor

    def __init__(
        self,
        fraction: float,
        lens_models: Sequence[str],
        theta_e_arcsec: Sequence[float],
        src_dmag: Sequence[float],
        src_reff_arcsec: Sequence[float],
        src_sersic: Sequence[float],
        max_offset: float,
    ) -> None:
        super().__init__()
        if not 0 <= fraction <= 1:
            raise SurveyConfigError(f"transforms.inject.fraction={fraction} must lie in [0, 1]")
        self.fraction = fraction
        self.priors = continuous_priors(
            lens_models=lens_models,
            theta_e_arcsec=theta_e_arcsec,
            src_dmag=src_dmag,
            src_reff_arcsec=src_reff_arcsec,
            src_sersic=src_sersic,
            max_offset=max_offset,
        )
        self.register_buffer("annulus", annulus_pixels(SKY_RADIUS_PX, STAMP_SIZE), persistent=False)
        self.register_buffer("electrons_times_variance", _electrons_times_variance(), persistent=False)
        self._raster: Callable[[Mapping[str, Tensor]], Tensor] = _arc_raster

    def compile(self) -> None:
        """Compile the ray shooting, which is nearly all of the work; Fourier modes are beyond the compiler."""
        self._raster = torch.compile(_arc_raster, dynamic=True)

    def choose(self, batch: dict[str, Tensor], keys: Tensor) -> dict[str, Tensor]:
        """Choose the controls of a batch that is still on the host, so that the device need not be asked how many.

        Returns:
            The batch with `injected`, the places (M,) of the chosen controls, and their labels set to 1.
        """
        chosen = (batch["label"] == 0) & (uniforms(split_keys(keys, _CHOICE), 1)[:, 0] < self.fraction)
        changed = {"injected": chosen.nonzero().squeeze(1), "label": torch.where(chosen, 1, batch["label"])}
        if batch["image"].is_pinned():
            changed = {name: values.pin_memory() for name, values in changed.items()}
        return batch | changed

    def expected_counts(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Stamps by class that an epoch sees on average, from those of the dataset."""
        moved = self.fraction * counts["control"]
        return {"control": counts["control"] - moved, "lens": counts["lens"] + moved}

    @torch.no_grad()
    def forward(self, images: Tensor, chosen: Tensor, keys: Tensor) -> Tensor:
        """Add arcs.

        Args:
            images: (B, 3, 64, 64) in nanomaggies.
            chosen: places (M,) in the batch.
            keys: (B,) of `draw_keys`.

        Returns:
            The images, those chosen with an arc.
        """
        if len(chosen) == 0:
            return images
        parts = chosen.split(_AT_ONCE_ON_CPU if images.device.type == "cpu" else _AT_ONCE)
        return images.index_copy(0, chosen, torch.cat([self._lensed(images[part], keys[part]) for part in parts]))

    def _lensed(self, images: Tensor, keys: Tensor) -> Tensor:
        """The stamps (M, 3, 64, 64) with an arc each."""
        sky, mad = median_and_mad(images.flatten(2)[..., self.annulus])
        light = self.arc_light(images[:, _R] - sky[:, _R, None, None], keys)
        variance = (MAD_TO_SIGMA * mad).clamp_min(_LEAST_SIGMA_NMGY) ** 2
        electrons_per_nanomaggy = self.electrons_times_variance / variance
        photon_sigma = torch.sqrt(light.clamp_min(0) / electrons_per_nanomaggy[..., None, None])
        normal = normals(split_keys(keys, _PHOTONS), light[0].numel()).view_as(light)
        return torch.where(images == 0, images, images + light + photon_sigma * normal)

    def arc_light(self, r_band: Tensor, keys: Tensor) -> Tensor:
        """Noiseless arcs (M, 3, 64, 64) in nanomaggies around the hosts of sky-subtracted r images (M, 64, 64)."""
        keys = split_keys(keys, _LENSES)
        arcs = draw_arcs(keys, measure_hosts(GRID, r_band), self.priors)
        modes = GRID.raster_modes(self._raster(arcs))[:, None] * torch.fft.rfft2(draw_psf(keys, GRID))
        return GRID.image(modes) * arcs["flux"][..., None, None]


def _arc_raster(arcs: Mapping[str, Tensor]) -> Tensor:
    return arc_raster(GRID, arcs)


def _electrons_times_variance() -> Tensor:
    """Electrons per nanomaggy times the sky variance of a pixel, (3,): one number at any depth of a sky-limited survey.

    Both are known at the reference depth, under the median seeing.
    """
    fwhm = torch.from_numpy(MEDIAN_FWHM_ARCSEC)
    psf = moffat(GRID, fwhm, torch.full_like(fwhm, sum(MOFFAT_BETA_RANGE) / 2))
    sigma = pixel_sigma(inverse_variance(torch.from_numpy(REFERENCE_DEPTH_MAG)), noise_pixels(psf))
    return (torch.from_numpy(ELECTRONS_PER_NANOMAGGY) * sigma**2).float()
