import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.fits_stamps import FitsStamps
from dark_halo_scope.stamps.source import open_source
from dark_halo_scope.stamps.unlabelled import ParquetStamps
from tests.stamps.cutouts import write_cube
from tests.stamps.datasets import stamp_image, write_dataset

N = 5
IMAGES = np.stack([stamp_image(n, is_lens=n % 2 == 1) for n in range(N)])


@pytest.fixture
def folder(tmp_path):
    """Cutouts as cubes, in sub-folders."""
    for n in range(N):
        write_cube(tmp_path / "cutouts" / f"brick{n // 3}" / f"object{n}.fits", IMAGES[n])
    return tmp_path / "cutouts"


def pixels(source):
    out = np.empty_like(IMAGES)
    assert source.reader(rows_ahead=8, max_nonfinite_fraction=0.01).decode(np.arange(N), out) == []
    return out


def catalogue_columns():
    return {
        "objid": np.arange(N)[::-1] + 100,
        "file": [f"brick{n // 3}/object{n}.fits" for n in reversed(range(N))],
        "lens_model": ["CONTROL" if n % 2 == 0 else "SIE" for n in reversed(range(N))],
    }


def test_a_folder_of_cutouts_in_the_order_of_their_names(folder):
    source = open_source(str(folder))
    assert isinstance(source, FitsStamps)
    assert source.metadata(np.array([4, 0])).to_pydict() == {"stamp_id": ["brick1/object4", "brick0/object0"]}
    np.testing.assert_array_equal(pixels(source), IMAGES)
    assert source.known.label is None
    assert source.known.rows(None).tolist() == list(range(N))


def test_files_of_one_band_are_put_together(tmp_path):
    for n in range(N):
        for band, plane in zip("grz", IMAGES[n], strict=True):
            fits.PrimaryHDU(plane).writeto(tmp_path / f"object{n}_{band}.fits")
    source = open_source(str(tmp_path))
    assert source.n_rows == N
    np.testing.assert_array_equal(pixels(source), IMAGES)


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_a_catalogue_of_cutouts_keeps_its_order_columns_and_labels(folder, kind):
    path = folder / f"catalogue.{kind}"
    columns = catalogue_columns()
    if kind == "csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    elif kind == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        Table(columns).write(path)
    source = open_source(str(path), path_column="file")
    np.testing.assert_array_equal(pixels(source), IMAGES[::-1])
    assert source.metadata(np.array([1])).to_pylist() == [
        {"objid": 103, "file": "brick1/object3.fits", "lens_model": "SIE"}
    ]
    assert source.known.label.tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(ContractError, match=r"no column path, nor path_g.*out of: objid, file"):
        open_source(str(path))


def test_a_file_that_a_catalogue_names_in_vain_is_a_fault_of_its_row(folder):
    columns = catalogue_columns()
    columns["file"][2] = "gone.fits"
    pyarrow.csv.write_csv(pa.table(columns), folder / "catalogue.csv")
    source = open_source(str(folder / "catalogue.csv"), path_column="file")
    out = np.empty_like(IMAGES)
    (fault,) = source.reader(8, 0.01).decode(np.arange(N), out)
    assert (fault.row, fault.action, fault.reason) == (2, "quarantined", "missing_file")
    assert source.locate(2) == {"file": str(folder / "gone.fits")}


def test_another_file_of_the_same_name_and_size_changes_the_fingerprint(folder):
    before = open_source(str(folder)).fingerprint
    assert open_source(str(folder)).fingerprint == before
    path = folder / "brick0" / "object0.fits"
    content = bytearray(path.read_bytes())
    content[-3000] ^= 1
    path.write_bytes(content)
    assert open_source(str(folder)).fingerprint != before


def test_parquet_is_taken_as_folder_or_file(tmp_path):
    stamps = write_dataset(tmp_path / "stamps", n_train=4, n_val=2, n_test=2)
    assert isinstance(open_source(str(stamps)), ParquetStamps)
    assert open_source(str(stamps / "part-000.parquet")).n_rows == 4


def test_what_holds_no_stamps_is_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContractError, match="holds no"):
        open_source(str(tmp_path / "empty"))
    with pytest.raises(ContractError, match="does not exist"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(ContractError, match="no readable parquet"):
        open_source(str(tmp_path / "broken.parquet"))
    with pytest.raises(ContractError, match="cannot be read as a catalogue"):
        open_source(str(folder / "brick0" / "object0.fits"))
    write_dataset(folder / "stamps", n_train=4, n_val=2, n_test=2)
    with pytest.raises(ContractError, match="holds parquet and FITS files"):
        open_source(str(folder))
