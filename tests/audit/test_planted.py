"""What is planted in a dataset is named by its audit, and nothing else is; a clean one passes."""

import numpy as np
import pytest
from hydra.errors import InstantiationException

from dark_halo_scope.stamps.contract import ContractError
from tests.audit.planting import audit, gates, image_of, opened, replaced, rows_where, settings, with_images, write

RADIUS_PX = np.hypot(*(np.indices((64, 64)) - 31.5))


def test_a_clean_survey_passes(clean_audit):
    assert opened(clean_audit) == {}
    assert clean_audit.record["verdict"] != "fail"


def test_brighter_cores_in_injections(clean, tmp_path):
    brighter = 1 + 0.8 * (RADIUS_PX < 4)
    planted = with_images(
        clean,
        rows_where(clean, lens=True),
        lambda image: image * np.array([brighter, 1 + 0 * brighter, 1 + 0 * brighter]),
    )
    outcome = audit(write(planted, tmp_path / "data"))
    assert opened(outcome) == {"One number of a stamp": "fail", "Several numbers of a stamp": "fail"}
    assert gates(outcome)["One number of a stamp"]["finding"].startswith("core flux r < 5 px, g/")


def test_brighter_sky_in_injections(clean, tmp_path):
    planted = with_images(clean, rows_where(clean, lens=True), lambda image: image + np.float32(0.02))
    assert opened(audit(write(planted, tmp_path / "data")))["Empty sky, or all metadata"] == "fail"


def test_a_host_in_two_splits(clean, tmp_path):
    host = clean["host_id"][rows_where(clean, split="train")[3]].as_py()
    planted = replaced(clean, "host_id", {rows_where(clean, split="test")[5]: host})
    outcome = audit(write(planted, tmp_path / "data"))
    assert opened(outcome) == {"Hosts in two splits": "fail", "Schema and labels": "fail"}
    assert f"{host} in train and test" in gates(outcome)["Hosts in two splits"]["finding"]
    assert outcome.record["baselines"], "the leak must not keep the rest from being measured"


def test_a_region_in_two_splits(clean, tmp_path):
    region = clean["region_id"][rows_where(clean, split="train")[0]].as_py()
    planted = replaced(clean, "region_id", {rows_where(clean, split="val")[0]: region})
    assert (
        f"{region} in train and val"
        in gates(audit(write(planted, tmp_path / "data")))["Regions in two splits"]["finding"]
    )


def test_a_place_on_the_sky_in_two_splits_under_two_names(clean, tmp_path):
    here, there = rows_where(clean, split="train")[7], rows_where(clean, split="test")[2]
    planted = replaced(clean, "ra", {there: clean["ra"][here].as_py()})
    planted = replaced(planted, "dec", {there: clean["dec"][here].as_py() + 0.9 / 3600})
    assert opened(audit(write(planted, tmp_path / "data"))) == {"Places on the sky in two splits": "fail"}


def test_the_same_pixels_in_two_splits(clean, tmp_path):
    here, there = rows_where(clean, split="train", lens=True)[9], rows_where(clean, split="test", lens=True)[4]
    planted = replaced(clean, "stamp_npz", {there: clean["stamp_npz"][here].as_py()})
    outcome = audit(write(planted, tmp_path / "data"))
    assert opened(outcome) == {"Stamps with equal pixels": "fail"}
    finding = gates(outcome)["Stamps with equal pixels"]["finding"]
    for row in (here, there):
        assert "part-{}.parquet row {}".format(*divmod(row, clean.num_rows // 2)) in finding
    assert outcome.record["duplicates"]["exact"]["pairs"] == 1
    outcome.write(tmp_path / "audit")
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "Pairs with equal pixels" in page
    assert "1 of 17 gates fail" in " ".join(page.split())


def test_nearly_the_same_pixels_in_two_splits(clean, tmp_path):
    here = rows_where(clean, split="train", lens=False)[:3]
    there = rows_where(clean, split="val", lens=False)[:3]
    turned = {
        "turned": lambda i: np.rot90(i, 1, (1, 2)),
        "rescaled": lambda i: 1.7 * i[:, ::-1],
        "moved": lambda i: np.roll(i, (1, -2), (1, 2)),
    }
    planted = clean
    for source, target, change in zip(here, there, turned.values(), strict=True):
        planted = with_images(planted, [target], lambda _, s=source, c=change: c(image_of(clean, s)))
    outcome = audit(write(planted, tmp_path / "data"))
    assert opened(outcome) == {"Nearly equal stamps": "fail"}
    found = [{s["row"] for s in pair["stamps"]} for pair in outcome.record["duplicates"]["near"]["shown"]]
    assert sorted(map(sorted, found)) == sorted(map(sorted, zip(here, there, strict=True)))


def test_the_same_pixels_with_both_labels_in_one_split(clean, tmp_path):
    here, there = rows_where(clean, split="train", lens=False)[0], rows_where(clean, split="train", lens=True)[0]
    planted = replaced(clean, "stamp_npz", {there: clean["stamp_npz"][here].as_py()})
    assert opened(audit(write(planted, tmp_path / "data")))["Stamps with equal pixels"] == "fail"


@pytest.mark.parametrize(("n_pixels", "action"), [(3, "repaired"), (2000, "quarantined")])
def test_nan_pixels_in_one_class(clean, tmp_path, n_pixels, action):
    def spoil(image):
        image[1].flat[:n_pixels] = np.nan
        return image

    planted = with_images(clean, rows_where(clean, lens=True)[::8], spoil)
    outcome = audit(write(planted, tmp_path / "data"))
    gate = gates(outcome)["Missing bands, NaN pixels, unreadable stamps"]
    assert gate["verdict"] == "fail"
    assert f"nonfinite ({action}) in 0 controls and " in gate["finding"]


def test_seeing_of_one_class(clean, tmp_path):
    rows = rows_where(clean, lens=True)
    worse = {row: clean["psf_fwhm_used_r"][row].as_py() + 0.3 for row in rows}
    verdicts = opened(audit(write(replaced(clean, "psf_fwhm_used_r", worse), tmp_path / "data")))
    assert verdicts["Metadata by class"] == "fail"
    assert verdicts["One metadata column"] == "fail"


def test_depth_missing_in_one_class(clean, tmp_path):
    planted = replaced(clean, "psfdepth_r", dict.fromkeys(rows_where(clean, lens=True)[::4]))
    outcome = audit(write(planted, tmp_path / "data"))
    assert opened(outcome)["Missing metadata by class"] == "concern"
    assert "psfdepth_r (0.0% of controls, 25" in gates(outcome)["Missing metadata by class"]["finding"]


def test_unknown_labels_and_a_contradiction_are_both_told_and_the_rest_goes_on(clean, tmp_path):
    lens = rows_where(clean, lens=True)
    planted = replaced(clean, "lens_model", {lens[0]: "QUASAR"})
    planted = replaced(planted, "theta_e_arcsec", {lens[-1]: 0.0})
    outcome = audit(write(planted, tmp_path / "data"))
    told = " ".join(outcome.record["breaches"])
    assert "'QUASAR' (1 rows)" in told
    assert "an injected lens but theta_e_arcsec not above 0" in told
    assert outcome.record["dataset"]["rows_unknown"] == 1
    assert opened(outcome) == {"Schema and labels": "fail"}


def test_a_file_without_a_column_and_one_that_is_no_parquet(clean, tmp_path):
    root = write(clean.drop_columns(["arc_snr"]), tmp_path / "data")
    (root / "part-9.parquet").write_bytes(b"not parquet")
    outcome = audit(root)
    assert any("missing column arc_snr" in sentence for sentence in outcome.record["breaches"])
    assert any("part-9.parquet" in sentence for sentence in outcome.record["breaches"])
    assert opened(outcome) == {"Schema and labels": "fail"}


def test_without_hosts_and_places_they_are_said_to_be_unmeasured(clean, tmp_path):
    outcome = audit(write(clean.drop_columns(["host_id", "ra", "dec"]), tmp_path / "data"))
    assert opened(outcome) == dict.fromkeys(("Hosts in two splits", "Places on the sky in two splits"), "not measured")


def test_nothing_that_can_be_used(tmp_path, clean):
    root = write(clean.drop_columns(["lens_model"]), tmp_path / "data")
    with pytest.raises(ContractError, match="missing column lens_model"):
        audit(root)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InstantiationException, match="warn, stop, off"):
        settings(mode="perhaps")
