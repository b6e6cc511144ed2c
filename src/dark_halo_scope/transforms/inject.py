"""Fresh arcs on control stamps, rendered on the device: no two epochs see the same arc.

The physics is that of `sky` (the same deflection, light, PSF and pixels); what a stamp does not tell is drawn from the
survey's distributions:

- the host's r flux, centre and direction are measured on the stamp (`hosts`): the source is fainter than its host by
  `src_dmag`;
- the seeing in r is the stamp's own, as its dataset states it (`lens_hosts`); those in g and z follow it as nights do,
  to 8 % (`arcs`): columns that state them are not asked for;
- the arc's photon noise comes from the electrons per nanomaggy of an exposure as deep as the stamp's sky noise says.
  The rest of the stamp has its noise already. Pixels without data (exactly 0) stay so.

An arc that nobody could see would be a wrong label. So Einstein radius and brightness of the source are drawn from what
their priors have beyond the limits of resolution and of S/N. Drawing again until an arc is seen would prefer bright
hosts and deep exposures, which a network would learn. A stamp on which nothing that the priors have could be seen stays
the control that it is.

More lenses are no news of how frequent lenses are: the loss weighs stamps so that lenses, hosts and other controls
count in sum as in the dataset. Else every logit moved up, which calibration by a temperature cannot undo.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dark_halo_scope.sky.grid import StampGrid
from dark_halo_scope.sky.noise import ELECTRONS_PER_NANOMAGGY, REFERENCE_DEPTH_MAG, inverse_variance
from dark_halo_scope.sky.priors import SurveyConfigError
from dark_halo_scope.sky.psf import noise_pixels
from dark_halo_scope.sky.render import arc_raster
from dark_halo_scope.stamps.condition import Condition
from dark_halo_scope.stamps.contract import BANDS, PIXEL_SCALE_ARCSEC, STAMP_SIZE
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.store.statistics import SKY_RADIUS_PX
from dark_halo_scope.transforms.arcs import continuous_priors, draw_arcs, draw_fluxes, draw_psf
from dark_halo_scope.transforms.draws import normals, split_keys, uniforms
from dark_halo_scope.transforms.hosts import measure_hosts
from dark_halo_scope.transforms.lens_hosts import seeing_of_hosts
from dark_halo_scope.transforms.normalise import MAD_TO_SIGMA, annulus_pixels, median_and_mad
from dark_halo_scope.transforms.stored import nanomaggies, stamps_of

GRID = StampGrid(size=STAMP_SIZE, pixel_arcsec=PIXEL_SCALE_ARCSEC)

_CHOICE, _LENSES, _PHOTONS = range(3)  # streams of keys
_AT_ONCE, _AT_ONCE_ON_CPU = 64, 8  # stamps; work arrays of 40 MB fill a GPU, those of 5 MB stay in a CPU's cache
_LEAST_SIGMA_NMGY = 1e-4  # a constant sky, as over the survey's edge, does not make an infinitely deep exposure
_R = BANDS.index("r")


class OnlineInjection(nn.Module):
    """Makes lenses of some controls of a training batch; lenses that are in the batch stay as they are.

    Args:
        fraction: Of the hosts, in [0, 1); each host is drawn anew in every epoch.
        lens_models: SIE, SIS or both, equally often.
        theta_e_arcsec: Bounds of the Einstein radius.
        src_dmag: Bounds of the source's r magnitude minus the host's.
        src_reff_arcsec: Bounds of the source's half-light radius.
        src_sersic: Bounds of its Sersic index.
        max_offset: Largest offset of the source from the lens, in Einstein radii.
        min_theta_e_fwhm: Least Einstein radius, in FWHM of the stamp's PSF in r.
        min_arc_snr: Least brightness of an arc's peak in r, in units of the sky noise of a pixel.
        hosts: A `Condition` on metadata that a control meets to get an arc; None for every control.

    Raises:
        SurveyConfigError: When the priors cannot be rendered.
        ConditionError: When `hosts` cannot be read.
    """

    annulus: Tensor
    electrons_over_depth: Tensor

    def __init__(
        self,
        fraction: float,
        lens_models: Sequence[str],
        theta_e_arcsec: Sequence[float],
        src_dmag: Sequence[float],
        src_reff_arcsec: Sequence[float],
        src_sersic: Sequence[float],
        max_offset: float,
        min_theta_e_fwhm: float = 0.5,
        min_arc_snr: float = 2.0,
        hosts: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= fraction < 1:
            raise SurveyConfigError(
                f"transforms.inject.fraction={fraction} must lie in [0, 1): hosts without an arc must be left"
            )
        for name, limit in (("min_theta_e_fwhm", min_theta_e_fwhm), ("min_arc_snr", min_arc_snr)):
            if not limit >= 0:
                raise SurveyConfigError(f"transforms.inject.{name}={limit} must not be negative; 0 sets no limit")
        self.fraction = fraction
        self.min_theta_e_fwhm, self.min_arc_snr = min_theta_e_fwhm, min_arc_snr
        self.priors = continuous_priors(
            lens_models=lens_models,
            theta_e_arcsec=theta_e_arcsec,
            src_dmag=src_dmag,
            src_reff_arcsec=src_reff_arcsec,
            src_sersic=src_sersic,
            max_offset=max_offset,
        )
        self.register_buffer("annulus", annulus_pixels(SKY_RADIUS_PX, STAMP_SIZE), persistent=False)
        depth = inverse_variance(torch.from_numpy(REFERENCE_DEPTH_MAG))
        electrons_over_depth = torch.from_numpy(ELECTRONS_PER_NANOMAGGY) / depth
        self.register_buffer("electrons_over_depth", electrons_over_depth.float(), persistent=False)
        self._condition = None if hosts is None else Condition.parse(hosts)
        self._raster: Callable[[Mapping[str, Tensor]], Tensor] = _arc_raster

    def compile(self) -> None:
        """Compile the ray shooting, which is nearly all of the work; Fourier modes are beyond the compiler."""
        self._raster = torch.compile(_arc_raster, dynamic=True)

    def find_hosts(self, index: StampIndex, progress: bool = False) -> None:
        """Learn which controls of the training split can get an arc, and under which seeing: see `seeing_of_hosts`.

        Raises:
            SurveyConfigError: When the split has no lenses: arcs cannot be as frequent as they are.
        """
        self._fwhm_r = seeing_of_hosts(index, self._condition, progress)
        n_lenses = index.class_counts("train")["lens"]
        if not n_lenses:
            raise SurveyConfigError(f"{index.files.root}: split train has no lenses, which arcs would be weighed by")
        self._lens_weight = n_lenses / (n_lenses + self.fraction * int(self._fwhm_r.isfinite().sum()))

    def choose(self, batch: dict[str, Tensor], keys: Tensor) -> dict[str, Tensor]:
        """Choose the hosts of a batch that is still on the host computer: no device need be asked how many there are.

        Returns:
            The batch with `chosen`, their places (M,); `fwhm_r`, the seeing there (M,) in arcsec; and `weights`, those
            of each stamp as a control and as a lens (B, 2): a host without an arc stands for those that have one now.
        """
        fwhm_r = self._fwhm_r[batch["row"]]
        is_host = fwhm_r.isfinite()
        drawn = uniforms(split_keys(keys, _CHOICE), 1)[:, 0] < self.fraction
        chosen = (is_host & drawn).nonzero().squeeze(1)
        as_control = torch.where(is_host, 1 / (1 - self.fraction), 1.0)
        weights = torch.stack([as_control, torch.full_like(as_control, self._lens_weight)], dim=1)
        added = {"chosen": chosen, "fwhm_r": fwhm_r[chosen], "weights": weights}
        if batch["image"].is_pinned():
            added = {name: values.pin_memory() for name, values in added.items()}
        return batch | added

    @torch.no_grad()
    def forward(self, batch: dict[str, Tensor], keys: Tensor) -> dict[str, Tensor]:
        """Make lenses of the stamps that `choose` chose.

        Args:
            batch: on any device.
            keys: (B,) of `draw_keys`.

        Returns:
            The batch with its stamps in nanomaggies, some with an arc, to be measured anew; with their labels; and with
            the `weight` (B,) of each in the loss.
        """
        images, label, chosen = nanomaggies(batch), batch["label"], batch["chosen"]
        if len(chosen):
            at_once = _AT_ONCE_ON_CPU if images.device.type == "cpu" else _AT_ONCE
            parts = zip(chosen.split(at_once), batch["fwhm_r"].split(at_once), strict=True)
            lensed, seen = zip(*(self._lensed(images[part], fwhm, keys[part]) for part, fwhm in parts), strict=True)
            images = images.index_copy(0, chosen, torch.cat(lensed))
            label = label.index_copy(0, chosen, torch.cat(seen).to(label.dtype))
        weight = batch["weights"].gather(1, label[:, None]).squeeze(1)
        rest = {name: batch[name] for name in batch.keys() - stamps_of(batch).keys() - {"chosen", "fwhm_r", "weights"}}
        return rest | {"image": images, "label": label, "weight": weight}

    def _lensed(self, images: Tensor, fwhm_r: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The stamps (M, 3, 64, 64), with an arc each where one can be seen, and whether it can (M,)."""
        sky, mad = median_and_mad(images.flatten(2)[..., self.annulus])
        sky_sigma = (MAD_TO_SIGMA * mad).clamp_min(_LEAST_SIGMA_NMGY)
        has_data, lens_keys = images != 0, split_keys(keys, _LENSES)
        hosts = measure_hosts(GRID, images[:, _R] - sky[:, _R, None, None])
        psf = draw_psf(lens_keys, fwhm_r, GRID)
        least_theta_e = self.min_theta_e_fwhm * fwhm_r
        shapes = self.arc_shapes(draw_arcs(lens_keys, hosts, self.priors, least_theta_e), psf)
        peak_r = (shapes[:, _R] * has_data[:, _R]).amax((1, 2))
        faintest_dmag = 2.5 * torch.log10(hosts.flux_r * peak_r / (self.min_arc_snr * sky_sigma[:, _R]))
        light = shapes * draw_fluxes(lens_keys, hosts.flux_r, self.priors, faintest_dmag)[..., None, None]
        photon_sigma = torch.sqrt(light.clamp_min(0) / self.electrons_per_nanomaggy(sky_sigma, psf)[..., None, None])
        normal = normals(split_keys(keys, _PHOTONS), light[0].numel()).view_as(light)
        # a peak without data is 0, its faintest dmag minus infinity or, where no S/N is asked for, NaN: not seen
        seen = (faintest_dmag >= self.priors.src_dmag.minimum) & (least_theta_e <= self.priors.theta_e_arcsec.maximum)
        seen &= mad[:, _R] > 0  # of a sky without data no S/N is known
        return torch.where(seen[:, None, None, None] & has_data, images + light + photon_sigma * normal, images), seen

    def arc_shapes(self, arcs: Mapping[str, Tensor], psf: Tensor) -> Tensor:
        """Noiseless arcs (M, 3, 64, 64) of sources of unit flux: those of `draw_arcs` under PSFs of `draw_psf`."""
        return GRID.image(GRID.raster_modes(self._raster(arcs))[:, None] * torch.fft.rfft2(psf))

    def electrons_per_nanomaggy(self, sky_sigma: Tensor, psf: Tensor) -> Tensor:
        """How many electrons (M, 3) an exposure counted that has this sky noise of a pixel (M, 3) under these PSFs.

        Where the sky limits an exposure they grow in proportion to the inverse variance of a point source's flux.
        """
        return self.electrons_over_depth / (sky_sigma**2 * noise_pixels(psf))


def _arc_raster(arcs: Mapping[str, Tensor]) -> Tensor:
    return arc_raster(GRID, arcs)
