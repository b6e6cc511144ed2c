import logging
import random
import signal
import time
from dataclasses import replace

import pytest

from dark_halo_scope.stamps import remote
from dark_halo_scope.stamps.files import StampFiles
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.loaders import TrainLoader
from dark_halo_scope.stamps.plan import Share
from dark_halo_scope.stamps.quarantine import Quarantine
from dark_halo_scope.stamps.remote import RemoteReadError, RetryPolicy
from dark_halo_scope.stamps.stream import StreamOptions
from tests.stamps.datasets import write_dataset
from tests.stamps.s3 import SECRET

SOON = RetryPolicy(attempts=4, first_delay_s=0.01)


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("survey"))


def batches(index, folder):
    loader = TrainLoader(index, "train", Quarantine(index, folder), Share(12), StreamOptions(), seed=3)
    return [(b["row"].tolist(), b["image"].numpy().tobytes()) for b in loader]


def test_a_bad_network_changes_nothing(tmp_path, survey, bucket):
    index = StampIndex.build(bucket.root)
    index = replace(index, files=replace(index.files, retry=SOON))
    bucket.proxy.gets.clear()
    bucket.proxy.faults.extend(["500", "503", "fine", "cut", "429", "slow", "fine", "cut", "500"])
    local = StampIndex.build(str(survey))
    assert batches(index, tmp_path) == batches(local, tmp_path)
    assert index.fingerprint == local.fingerprint
    assert not bucket.proxy.faults


def test_reading_gives_up_after_the_last_attempt_and_says_why(tmp_path, bucket):
    index = StampIndex.build(bucket.root)
    index = replace(index, files=replace(index.files, retry=SOON))
    bucket.proxy.gets.clear()
    bucket.proxy.always = "500"
    with pytest.raises(RemoteReadError, match=r"part-00\d.parquet could not be read in 4 attempts.*HTTP status 500"):
        index.metadata(index.rows("val"))
    assert len(bucket.proxy.gets) == 4


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_stop_does_not_wait_for_further_tries(tmp_path, bucket, caplog):
    index = StampIndex.build(bucket.root)
    patient = RetryPolicy(attempts=50, first_delay_s=600.0, longest_delay_s=600.0)
    index = replace(index, files=replace(index.files, retry=patient))
    bucket.proxy.always = "500"
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            batches(index, tmp_path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "HTTP status 500" in caplog.text
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", ["403", "404"])
def test_a_refusal_is_not_tried_again(bucket, status, caplog):
    files = StampFiles.find(bucket.root, SOON)
    bucket.proxy.always = status
    with pytest.raises(RemoteReadError, match=r"part-000.parquet is refused or gone") as caught:
        files.parquet(0)
    assert len(bucket.proxy.gets) == 1
    assert SECRET not in str(caught.value) + caplog.text


def test_a_connection_that_falls_silent_is_given_up(bucket, monkeypatch):
    monkeypatch.setattr(remote, "_SILENCE_TIMEOUT_S", 1.0)
    files = StampFiles.find(bucket.root, SOON)
    bucket.proxy.faults.append("silent")
    assert files.parquet(0).metadata.num_rows == 48
    assert len(bucket.proxy.gets) > 1


def test_a_file_that_was_replaced_since_it_was_listed(tmp_path, bucket):
    files = StampFiles.find(bucket.root)
    bucket.upload(write_dataset(tmp_path / "other", n_train=96))
    with pytest.raises(RemoteReadError, match=r"part-001.parquet changed since it was listed"):
        files.parquet(1)


def test_secrets_in_a_root_are_not_repeated(bucket):
    with pytest.raises(ValueError, match="cannot be opened") as caught:
        StampFiles.find(f"s3://survey/dr10?secret_key={SECRET}")
    assert SECRET not in str(caught.value)


def test_waits_double_up_to_a_limit_and_are_random_within(caplog):
    waits = []

    def fail():
        raise OSError("AWS Error SLOW_DOWN during GetObject operation")

    state = random.getstate()
    policy = RetryPolicy(attempts=9, first_delay_s=1.0, longest_delay_s=16.0)
    for _ in range(50):
        with pytest.raises(RemoteReadError, match="a file could not be read in 9 attempts"):
            policy.run("a file", fail, waits.append)
    spans = [1, 2, 4, 8, 16, 16, 16, 16]
    for k, span in enumerate(spans):
        of_attempt = waits[k :: len(spans)]
        assert 0 <= min(of_attempt) < 0.3 * span
        assert 0.7 * span < max(of_attempt) <= span
    assert len(waits) == 50 * len(spans)
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("message", "permanent"),
    [
        ("AWS Error UNKNOWN (HTTP status 500) during GetObject operation", False),
        ("AWS Error UNKNOWN (HTTP status 429) during GetObject operation", False),
        ("AWS Error SLOW_DOWN during GetObject operation", False),
        ("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28, Timeout was reached", False),
        ("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation", True),
        ("AWS Error ACCESS_DENIED during HeadObject operation", True),
        ("AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation", True),
    ],
)
def test_what_is_tried_again(message, permanent, caplog):
    caplog.set_level(logging.ERROR)
    assert remote.is_permanent(OSError(message)) is permanent
