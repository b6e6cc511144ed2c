"""Where a study is kept, and the turns that its workers take.

| URL | for | heartbeat |
|---|---|---|
| ``sqlite:////folder/study.db`` | workers on one host | Optuna's |
| ``postgresql://user@host/database`` | workers on several hosts | Optuna's |
| ``journal:////shared/study.log`` | several hosts that share a disk and no database | ours |
"""

import contextlib
import copy
import fcntl
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import BaseHeartbeat  # what a storage implements to have one; Optuna documents it so
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dark_halo_scope.search.errors import SearchError
from dark_halo_scope.search.tally import OUTCOME

BUSY_TIMEOUT_S = 60  # SQLite lets one writer in at a time
RETRIES = 1  # of a trial whose worker died: twice dead, it is the trial that kills

warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats have been experimental since Optuna 2.9
warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used with Study.optimize")


def open_storage(url: str, heartbeat_s: int | None = None, grace_s: int | None = None) -> BaseStorage:
    """Open a study's storage; with a heartbeat for a worker, without one to read or to report.

    Args:
        url: as in the table above.
        heartbeat_s: how often a worker says that it lives.
        grace_s: after how long a silence a running trial is given up and tried again.

    Raises:
        SearchError: it is none of the above, or cannot be opened.
    """
    check_url(url)
    if (journal := _journal_file(url)) is not None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        backend = JournalFileBackend(str(journal))
        return JournalStorage(backend) if heartbeat_s is None else BeatingJournal(backend, heartbeat_s, grace_s or 0)
    engine: dict[str, object] = {"pool_pre_ping": True}
    if (database := _sqlite_file(url)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        engine["connect_args"] = {"timeout": BUSY_TIMEOUT_S}
    with _told_if_closed(url):
        return RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=heartbeat_s,
            grace_period=grace_s,
            heartbeat_stale_trial_callback=None if heartbeat_s is None else retry,
            skip_compatibility_check=heartbeat_s is None,  # the workers have checked, and made the tables
            skip_table_creation=heartbeat_s is None,
        )


def check_url(url: str) -> None:
    """Refuse what is none of the table above.

    Raises:
        SearchError: what to write.
    """
    if not url.startswith(("sqlite:///", "postgresql", "journal:///")):
        raise SearchError(
            f"search.storage={url}: write sqlite:////FILE, postgresql://USER@HOST/DATABASE or journal:////FILE"
        )


def retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial whose worker died once more, unless it has killed a worker before."""
    trials = study.get_trials(deepcopy=False)
    died = [n for n in RetryHeartbeatStaleTrialCallback.retry_history(trial) if OUTCOME not in trials[n].user_attrs]
    if len(died) < RETRIES:
        queue_again(study, trial)


def queue_again(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial's parameters for whichever worker is next, without what became of this attempt."""
    attempt = copy.deepcopy(trial)
    attempt.user_attrs = {}
    RetryHeartbeatStaleTrialCallback()(study, attempt)


class BeatingJournal(JournalStorage, BaseHeartbeat):
    """A journal whose trials are given up when their worker dies, as in a database.

    The time of the last beat lies in the trial's attributes. Hosts must agree on the time to within `grace_s`.
    """

    def __init__(self, backend: JournalFileBackend, heartbeat_s: int, grace_s: int) -> None:
        super().__init__(backend)
        self.heartbeat_s, self.grace_s = heartbeat_s, grace_s

    def record_heartbeat(self, trial_id: int) -> None:
        """Say that the worker of a trial lives, unless another has given the trial up."""
        with contextlib.suppress(UpdateFinishedTrialError):  # the worker learns of it when it tells the outcome
            self.set_trial_system_attr(trial_id, "heartbeat", time.time())

    def get_heartbeat_interval(self) -> int:
        """Seconds between two beats."""
        return self.heartbeat_s

    def get_heartbeat_stale_trial_callback(self) -> Callable[[Study, FrozenTrial], None]:
        """What happens to a trial that was given up."""
        return retry

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        since = time.time() - self.grace_s
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [trial._trial_id for trial in running if trial.system_attrs.get("heartbeat", since) < since]


@contextlib.contextmanager
def turn(url: str) -> Iterator[None]:
    """Wait for, and hold, the only turn that the workers on a storage have among them.

    Whoever holds it counts the trials and takes the next one: without it two workers both take the last. A worker that
    dies gives it back: the system (a file), the server (a connection) or the others after 30 s (a journal) see to it.

    Raises:
        SearchError: the server cannot be reached.
    """
    if (database := _sqlite_file(url)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with database.with_suffix(".turn").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    elif (journal := _journal_file(url)) is not None:
        target = journal.with_suffix(".turn")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        lock = JournalFileSymlinkLock(str(target))
        lock.acquire()
        try:
            yield
        finally:
            lock.release()
    else:
        key = int.from_bytes(hashlib.sha256(b"dark_halo_scope.search").digest()[:8], signed=True)
        with _told_if_closed(url):
            engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, isolation_level="AUTOCOMMIT")
            connection = engine.connect()
        with connection:  # the lock goes with it
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
            yield


def load_study(url: str, name: str, pruner: BasePruner | None = None) -> Study:
    """Open a study that exists, to read it or to report to it.

    Args:
        url: as in the table above.
        name: of the study.
        pruner: decides on trials that report; None lets every one run to its end.

    Raises:
        SearchError: there is none of that name, or its server cannot be reached.
    """
    file = file_of(url)
    try:
        if file is not None and not file.exists():
            raise KeyError(name)
        with turn(url):  # whoever opens a database while it is made spoils it for the one that makes it
            storage = open_storage(url)
        return optuna.load_study(study_name=name, storage=storage, pruner=pruner or NopPruner())
    except (KeyError, StorageInternalError):
        raise SearchError(f"{_without_password(url)} holds no study {name}: has the search begun?") from None


def file_of(url: str) -> Path | None:
    """The file that a storage is; None for a server."""
    return _sqlite_file(url) or _journal_file(url)


@contextlib.contextmanager
def _told_if_closed(url: str) -> Iterator[None]:
    """Say in a sentence why a database does not open: no server there, a wrong password, no driver."""
    try:
        yield
    except (sqlalchemy.exc.OperationalError, ImportError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        what = "reached" if _sqlite_file(url) is None else "opened"
        raise SearchError(f"search.storage={_without_password(url)} cannot be {what}: {reason}") from error


def _sqlite_file(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _journal_file(url: str) -> Path | None:
    return Path(url.removeprefix("journal:///")) if url.startswith("journal:///") else None


def _without_password(url: str) -> str:
    return url if url.startswith("journal") else sqlalchemy.make_url(url).render_as_string(hide_password=True)
