"""The study on disk: in the contract, the same bytes however it is made, and people who differ."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dark_halo_scope.windows.gait import ACTIVITIES, CHANNELS
from dark_halo_scope.windows.index import WindowIndex
from dark_halo_scope.windows.reader import read_windows
from dark_halo_scope.windows.simulate import StudyError, simulate_study, study_is_complete
from tests.windows.studies import tiny_study


def checksums(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_a_study_keeps_the_contract_and_says_what_it_is(tmp_path):
    config = tiny_study()
    index = WindowIndex.build(str(simulate_study(config, tmp_path / "study")))
    assert index.n_rows == config.number_of_windows == 4 * 3 * 6 * 3
    assert index.classes == tuple(sorted(ACTIVITIES))
    assert index.layout.channels == CHANNELS
    assert index.participants == ("p001", "p002", "p003", "p004")
    assert len(index.sessions) == 12
    assert index.notes == ()  # windows do not overlap
    assert study_is_complete(tmp_path / "study", config)
    assert not study_is_complete(tmp_path / "study", tiny_study(variety=0.5))
    gravity = np.linalg.norm(read_windows(index, np.arange(54))[:, :3].mean(axis=2), axis=1)
    np.testing.assert_allclose(gravity, 9.81, atol=1.5)


def test_the_bytes_depend_on_config_and_seed_alone(tmp_path):
    first = checksums(simulate_study(tiny_study(), tmp_path / "first"))
    assert checksums(simulate_study(tiny_study(), tmp_path / "again")) == first
    assert not set(checksums(simulate_study(tiny_study(seed=6), tmp_path / "other")).values()) & set(first.values())


def test_what_a_killed_simulation_left_is_no_part_of_the_study(tmp_path):
    config = tiny_study()
    left = tmp_path / f".study.{config.digest()}.partial"
    left.mkdir()
    (left / "p001.parquet").write_bytes(b"half a file")
    (left / "p999.parquet").write_bytes(b"of another time")
    assert checksums(simulate_study(config, tmp_path / "study")) == checksums(
        simulate_study(config, tmp_path / "whole")
    )
    assert not left.exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match="holds another study or other files"):
        simulate_study(tiny_study(), tmp_path)
    study = simulate_study(tiny_study(), tmp_path / "study")
    with pytest.raises(StudyError, match="holds another study"):
        simulate_study(tiny_study(seed=1), study)


@pytest.mark.parametrize(
    ("change", "told"), [({"bouts": 0}, r"participants\.bouts=0"), ({"variety": 2.0}, r"participants\.variety=2")]
)
def test_an_impossible_study_is_refused(change, told):
    with pytest.raises(StudyError, match=told):
        replace(tiny_study(), **change)


def accuracy_on_others(folder: Path, variety: float) -> float:
    """Of a linear classifier on means and spreads of the channels, for people whom it has not seen."""
    config = tiny_study(participants=12, sessions=2, bouts=3, windows_per_bout=2, window_size=96, variety=variety)
    index = WindowIndex.build(str(simulate_study(config, folder)))
    windows = read_windows(index, np.arange(index.n_rows))
    features = np.concatenate([windows.mean(axis=2), np.log(windows.std(axis=2))], axis=1)
    hits = []
    for others in np.array_split(np.arange(12), 4):
        tested = np.isin(index.participant, others)
        model = LinearDiscriminantAnalysis().fit(features[~tested], index.label[~tested])
        hits.append(model.score(features[tested], index.label[tested]))
    return float(np.mean(hits))


def test_people_who_differ_are_harder_to_tell_of_than_people_who_are_alike(tmp_path):
    alike, different = accuracy_on_others(tmp_path / "alike", 0.0), accuracy_on_others(tmp_path / "different", 1.0)
    assert alike > different + 0.08
    assert different > 3 / len(ACTIVITIES)
