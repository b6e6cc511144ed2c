import numpy as np

from dark_halo_scope.stamps.store.options import StoreOptions
from dark_halo_scope.stamps.store.prepare import prepare
from tests.audit.planting import audit, gates, opened, rows_where, with_images, write


def test_a_training_store_is_judged_as_the_dataset_it_was_made_of(clean_root, clean_audit, tmp_path):
    prepare(str(clean_root), tmp_path / "store", StoreOptions(precision="float32"), progress=False)
    outcome = audit(tmp_path / "store")
    assert outcome.record["dataset"]["is_store"]
    assert opened(outcome) == opened(clean_audit) == {}
    for role in ("answer", "input"):
        raw, store = (
            {name for name, r in a.record["metadata"]["roles"].items() if r == role} for a in (clean_audit, outcome)
        )
        assert raw == store
    singles = [
        {b["name"]: b["auroc"] for b in a.record["baselines"] if b["n_inputs"] == 1} for a in (clean_audit, outcome)
    ]
    assert singles[0].keys() == singles[1].keys()
    for name, auroc in singles[0].items():
        assert abs(singles[1][name] - auroc) < 1e-6, name


def test_pixels_that_were_filled_when_a_store_was_made_still_count(clean, tmp_path):
    def spoil(image):
        image[1, 0, :3] = np.nan
        return image

    root = write(with_images(clean, rows_where(clean, lens=True)[::8], spoil), tmp_path / "data")
    prepare(str(root), tmp_path / "store", StoreOptions(precision="float32"), progress=False)
    gate = gates(audit(tmp_path / "store"))["Missing bands, NaN pixels, unreadable stamps"]
    assert gate["verdict"] == "fail"
    assert "nonfinite (repaired) in 0 controls and " in gate["finding"]
