"""A batch as a training store gives it, against the same stamps measured here."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.reader import StampReader, stamp_reader
from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.precision import from_float16
from dark_halo_scope.stamps.store.prepare import prepare
from dark_halo_scope.transforms.normalise import AnnulusAsinh, MadClip
from dark_halo_scope.transforms.stored import known_statistics, nanomaggies, stamps_of
from tests.stamps.datasets import write_dataset


def read(reader: StampReader, rows: np.ndarray) -> dict[str, torch.Tensor]:
    out = {name: np.empty((len(rows), *shape), dtype) for name, (shape, dtype) in reader.fields.items()}
    assert reader.read(rows, out) == []
    return {name: torch.from_numpy(values) for name, values in out.items()}


@pytest.fixture(scope="module", params=["float16", "float32"])
def stored(request, tmp_path_factory) -> tuple[str, dict[str, torch.Tensor]]:
    """Precision, and a batch of 40 stamps of a store."""
    folder = tmp_path_factory.mktemp(request.param)
    raw = write_dataset(folder / "raw")
    options = StoreOptions(precision=request.param, shard_stamps=32, row_group_stamps=8)
    prepare(str(raw), folder / "store", options, progress=False)
    reader = stamp_reader(StampIndex.build(str(folder / "store")), open_row_groups=8, max_nonfinite_fraction=0.01)
    return request.param, read(reader, np.arange(40))


@pytest.mark.parametrize(
    "scheme", [MadClip(), AnnulusAsinh(), AnnulusAsinh(scale_nmgy=0.02), AnnulusAsinh(radius_px=25)]
)
def test_what_the_store_measured_gives_what_measuring_gives(scheme, stored):
    precision, batch = stored
    images = nanomaggies(batch)
    known, measured = scheme(images, known_statistics(batch)), scheme(images)
    if precision == "float32":
        torch.testing.assert_close(known, measured, rtol=1e-6, atol=1e-6)
    else:  # the store measured before it rounded
        torch.testing.assert_close(known, measured, rtol=0, atol=0.02)
        assert (known - measured).abs().mean() < 2e-3


def test_another_annulus_than_the_stores_is_measured(stored):
    _, batch = stored
    images, other = nanomaggies(batch), AnnulusAsinh(radius_px=25)
    assert torch.equal(other(images, known_statistics(batch)), other(images))


def test_pixels_are_those_that_the_reader_decodes(stored):
    precision, batch = stored
    images = nanomaggies(batch)
    assert images.dtype == torch.float32
    if precision == "float16":
        expected = np.empty(images.shape, np.float32)
        from_float16(batch["image"].numpy(), batch["exponent"].numpy(), expected)
        assert torch.equal(images, torch.from_numpy(expected))
    else:
        assert images is batch["image"]


@given(st.lists(st.integers(-126, 127), min_size=1, max_size=20))
def test_powers_of_two_are_exact(exponents):
    ones = torch.ones(len(exponents), 1, 1, 1, dtype=torch.float16)
    scaled = nanomaggies({"image": ones, "exponent": torch.tensor(exponents, dtype=torch.int8)})
    assert scaled.flatten().tolist() == [2.0**exponent for exponent in exponents]


def test_a_raw_batch_has_nothing_measured(stored):
    _, batch = stored
    raw = {"image": torch.zeros(2, 3, 64, 64), "label": torch.zeros(2), "row": torch.arange(2)}
    assert known_statistics(raw) is None
    assert list(stamps_of(raw)) == ["image"]
    assert stamps_of(batch | raw).keys() == batch.keys()
