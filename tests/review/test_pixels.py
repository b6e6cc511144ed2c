import numpy as np
import pytest
import torch

from dark_halo_scope.review import pixels
from dark_halo_scope.review.case import Stamps
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.transforms.augment import Augment
from dark_halo_scope.transforms.normalise import AnnulusAsinh, MadClip
from tests.evaluation.run_folder import draw_stamps
from tests.stamps.datasets import write_dataset


@pytest.fixture(scope="module")
def stamps() -> Stamps:
    rows = np.arange(60)
    return Stamps(rows, (rows % 2).astype(np.int8), draw_stamps(rows))


class Blur(torch.nn.Module):
    """An augmentation that smooths: what must not be done to noise."""

    def forward(self, images: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)


def test_clipping_flattens_cores_and_stretching_does_not(stamps):
    clipped = pixels.core_saturation(stamps, MadClip(10.0))
    normalised = MadClip(10.0)(torch.from_numpy(stamps.images)).numpy()
    y, x = np.mgrid[-31.5:32.5, -31.5:32.5]
    core = normalised[:, :, np.hypot(x, y) < 5]
    assert clipped.at_bound == pytest.approx((core == 10.0).mean(), abs=1e-6)
    assert clipped.at_bound > 0.25
    stretched = pixels.core_saturation(stamps, AnnulusAsinh())
    assert stretched.at_bound == 0.0
    assert stretched.colour_rank_correlation > max(0.9, clipped.colour_rank_correlation)


def test_turns_leave_the_sky_and_blurring_does_not(stamps):
    turned = pixels.augmented_sky(stamps, AnnulusAsinh(), Augment(), seed=1)
    assert (turned.same_pixels, turned.sky_shift, turned.scatter_ratio) == (1.0, 0.0, 0.0)
    assert 40 < turned.n_changed < 60  # one in eight stays as it is
    blurred = pixels.augmented_sky(stamps, AnnulusAsinh(), Blur(), seed=1)
    assert blurred.same_pixels == 0.0
    assert blurred.scatter_ratio > 0.5


def test_both_decoders_are_run_on_the_rows_asked_for(tmp_path):
    index = StampIndex.build(str(write_dataset(tmp_path, row_group_size=5)))
    found = pixels.compare_decoders(index, np.array([0, 4, 5, 17, 60, 95]))
    assert (found.n, found.n_equal) == (6, 6)
    assert found.stamps_per_s > 0 < found.load_stamps_per_s
