import json
import logging
import multiprocessing
import os
import signal
import time

import pytest
from lightning.pytorch import Callback

from dark_halo_scope.callbacks.budget import Budget
from dark_halo_scope.callbacks.heartbeat import Heartbeat
from dark_halo_scope.callbacks.ledger import Account, Ledger, committed, spent
from dark_halo_scope.callbacks.meter import BudgetError, BudgetSpentError, Meter
from dark_halo_scope.monitoring.process import ProcessName
from dark_halo_scope.monitoring.run_state import read_run
from dark_halo_scope.run import run as run_here
from tests.callbacks.tiny_run import STEPS_PER_EPOCH, TinyRun
from tests.runs import TINY, composed

CAP_USD = 0.50
SLOW = 0.02  # seconds added to a step, so that the cap falls into the middle of an epoch
FORK = multiprocessing.get_context("fork")


class Slow(Callback):
    def on_train_batch_start(self, *_):
        time.sleep(SLOW)


def spend(dataset, folder, ledger, usd_per_hour, reserve_s):
    """A run in a process of its own: train under the cap, then validate and test the best."""
    run = TinyRun(dataset, folder)
    budget = Budget(str(folder), str(ledger), usd_per_hour, max_usd=CAP_USD, reserve_s=reserve_s)
    standard = run.standard_callbacks(patience=10_000)
    run.fit([budget, Slow(), *standard], max_epochs=10_000, min_epochs=None)
    (folder / "stopped_at.json").write_text(json.dumps({"steps": run.trainer.global_step}))
    run.trainer.validate(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    run.trainer.test(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    budget.meter.close()  # children of a fork run no exit handlers
    assert len(run.history()["budget/cost_usd"]) >= 1


def start(dataset, folder, ledger, usd_per_hour, reserve_s=2.5):
    process = FORK.Process(target=spend, args=(dataset, folder, ledger, usd_per_hour, reserve_s))
    process.start()
    return process


def accounts(ledger):
    with Ledger(ledger).turn() as found:
        return found


def test_a_run_ends_below_the_cap_with_its_test_done_and_uses_most_of_it(dataset, tmp_path):
    ledger = tmp_path / "budget.json"
    process = start(dataset, tmp_path / "run", ledger, usd_per_hour=150)  # 12 s
    process.join(60)
    assert process.exitcode == 0
    (account,) = accounts(ledger)
    cost = spent([account], time.time()).usd
    assert 0.5 * CAP_USD < cost <= CAP_USD
    assert account.closed_at is not None
    assert account.finish_s > 0 < account.validation_s
    assert account.checkpoint_s > 0
    assert json.loads((tmp_path / "run" / "stopped_at.json").read_text())["steps"] > STEPS_PER_EPOCH


def test_three_workers_together_end_below_the_cap(dataset, tmp_path):
    ledger = tmp_path / "budget.json"
    workers = [start(dataset, tmp_path / f"run{k}", ledger, usd_per_hour=60) for k in range(3)]  # 30 s for all
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    found = accounts(ledger)
    assert len(found) == 3
    assert 0.4 * CAP_USD < spent(found, time.time()).usd <= CAP_USD


def test_a_killed_run_is_charged_up_to_its_last_beat_and_holds_nothing(dataset, tmp_path):
    ledger = tmp_path / "budget.json"
    process = start(dataset, tmp_path / "run", ledger, usd_per_hour=1)
    deadline = time.time() + 30
    while not (ledger.exists() and accounts(ledger)[0].validation_s):
        assert time.time() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (account,) = accounts(ledger)
    later = time.time() + 3600
    assert committed([account], later) == spent([account], later)
    assert spent([account], later).hours == pytest.approx((account.beat_at - account.since) / 3600)


def test_a_resumed_run_adds_to_what_was_spent(run, tmp_path):
    ledger = tmp_path / "budget.json"
    for resume, epochs in ((None, 1), (run.last, 2)):
        budget = Budget(str(run.folder), str(ledger), usd_per_hour=1.0, max_usd=100.0)
        run.fit([budget, *run.standard_callbacks()], resume=resume, max_epochs=epochs, min_epochs=None)
        budget.meter.close()
    first, second = accounts(ledger)
    assert second.since == first.closed_at  # one process hands over from run to run without a gap
    values = [value for _, _, value in run.history()["budget/cost_usd"]]
    assert values[1] > values[0] > 0


def test_a_spent_budget_refuses_the_next_run_and_says_what_to_do(run, tmp_path):
    now = time.time()
    ledger = Ledger(tmp_path / "budget.json")
    old = Account("old", ProcessName.own(), now - 7200, 1, 1.0, now, 0.0, closed_at=now - 3600)
    with ledger.turn() as found:
        found.append(old)
    budget = Budget(str(run.folder), str(ledger.path), usd_per_hour=1.0, max_usd=1.0)
    with pytest.raises(BudgetSpentError, match=r"no room for another run: \$1\.\d\d .* raise the cap"):
        run.fit([budget, *run.standard_callbacks()], min_epochs=None)
    refused = accounts(ledger.path)[1]
    assert refused.held_h(time.time()) == 0.0  # it pays for its own end, and keeps nothing from the others
    Meter._open.close()
    assert accounts(ledger.path)[1].closed_at is not None


def test_a_training_that_ends_before_its_first_validation_says_so(run, tmp_path):
    ledger = tmp_path / "budget.json"
    budget = Budget(str(run.folder), str(ledger), usd_per_hour=3600.0, max_usd=6.0, reserve_s=5.0)  # a dollar a second
    with pytest.raises(BudgetSpentError, match="ended the training before its first validation: raise the cap"):
        run.fit([budget, *run.standard_callbacks()], min_epochs=None)
    assert run.trainer.global_step < STEPS_PER_EPOCH
    budget.meter.close()


def test_an_account_is_opened_before_a_further_run_loads_its_data_and_is_its_only_one(run, tmp_path):
    ledger = tmp_path / "budget.json"
    for name in ("first", "second"):
        budget = Budget(str(tmp_path / name), str(ledger), usd_per_hour=1.0, max_usd=100.0, reserve_s=60.0)
        budget.open_early()
        if name == "second":
            (_, opened) = accounts(ledger)
            assert opened.run == str(tmp_path / "second")
            assert opened.held_h(time.time()) > 0
        run.fit([budget, *run.standard_callbacks()], max_epochs=1, min_epochs=None)
        budget.meter.close()
    assert [account.run for account in accounts(ledger)] == [str(tmp_path / name) for name in ("first", "second")]


@pytest.mark.parametrize("limit", ["min_epochs", "min_steps"])
def test_a_training_that_no_callback_can_stop_is_refused(run, tmp_path, limit):
    budget = Budget(str(run.folder), str(tmp_path / "budget.json"), max_hours=1.0)
    with pytest.raises(BudgetError, match=r"trainer\.min_epochs"):
        run.fit([budget, *run.standard_callbacks()], **{"min_epochs": None, limit: 1})


def test_hours_are_capped_without_a_price(run, tmp_path, caplog):
    Meter._paid_until = time.time()
    cap_s = 8.0
    budget = Budget(str(run.folder), str(tmp_path / "budget.json"), max_hours=cap_s / 3600, reserve_s=2.0)
    with caplog.at_level(logging.INFO, logger="dark_halo_scope"):
        run.fit([budget, *run.standard_callbacks(patience=10_000)], max_epochs=10_000, min_epochs=None)
        run.trainer.test(run.task, datamodule=run.data, ckpt_path=str(run.best), verbose=False)
    budget.meter.close()
    assert spent(accounts(tmp_path / "budget.json"), time.time()).hours <= cap_s / 3600
    assert "training stops here" in caplog.text


def test_the_levels_of_the_cap_that_are_passed_are_warned_of_once(run, tmp_path, caplog):
    now = time.time()
    ledger = Ledger(tmp_path / "budget.json")
    with ledger.turn() as found:
        found.append(Account("old", ProcessName.own(), now - 7200, 1, 6.0, now, 0.0, closed_at=now - 3600))
    budget = Budget(str(run.folder), str(ledger.path), usd_per_hour=1.0, max_usd=10.0)
    run.fit([budget, *run.standard_callbacks()], min_epochs=None)
    budget.meter.close()
    warned = [record.message for record in caplog.records if "is spent" in record.message]
    assert len(warned) == 1
    assert warned[0].startswith("budget: 60 % of $10.00 is spent: $6.0")


def test_the_cost_is_estimated_from_an_earlier_run_and_else_from_the_first_steps(run, dataset, tmp_path, caplog):
    earlier = TinyRun(dataset, tmp_path / "earlier")
    earlier.fit([Heartbeat(str(earlier.folder), "val/auroc", "max")], max_epochs=1)
    for folder, epochs in ((str(earlier.folder), 1), (None, 11)):
        caplog.clear()
        budget = Budget(str(run.folder), str(tmp_path / "budget.json"), 3.0, max_usd=100.0, earlier_run=folder)
        with caplog.at_level(logging.INFO, logger="dark_halo_scope"):
            run.fit([budget, *run.standard_callbacks(patience=100)], max_epochs=epochs, min_epochs=None)
        budget.meter.close()
        assert len([record for record in caplog.records if "steps left take about" in record.message]) == 1


def test_runs_hold_what_they_need_to_end_and_use_it_up_when_they_stop():
    now = 1_000_000.0
    running = Account("a", ProcessName.own(), now - 3600, 2, 3.0, now, hold_s=1800)
    assert spent([running], now).usd == pytest.approx(6.0)
    assert committed([running], now).usd == pytest.approx(9.0)
    running.stopping_at = now
    assert committed([running], now + 900).usd == pytest.approx(9.0)
    assert committed([running], now + 1800).usd == pytest.approx(9.0)
    running.closed_at = now + 600
    assert committed([running], now + 900).usd == pytest.approx(7.0)


def test_a_whole_run_of_the_shipped_configs_ends_below_its_cap_with_a_report(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    give = ["callbacks=[default,heartbeat,budget]", "callbacks.budget.usd_per_hour=30", "callbacks.budget.reserve_s=45"]
    give += [f"callbacks.budget.max_usd={CAP_USD}", "model=small_cnn", "logger=none"]
    endless = ["callbacks.early_stopping=null", "trainer.min_epochs=null", "trainer.max_epochs=100000"]
    paths = [f"paths.data_dir={tmp_path}/data", f"paths.run_dir={folder}"]
    run_here(
        composed(
            *TINY, *paths, *give, *endless, f"callbacks.budget.max_usd={CAP_USD}", "model=small_cnn", "logger=none"
        )
    )
    Meter._open.close()
    assert (folder / "report.html").exists()
    (account,) = accounts(folder / "budget.json")
    assert account.closed_at is not None
    assert spent([account], time.time()).usd <= CAP_USD
    assert read_run(folder, time.time()).state == "finished"
