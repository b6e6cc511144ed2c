"""Tasks on all cores and GPUs of this machine or of a Ray cluster. Ray is imported once there is something to run.

On this machine, Ray listens on the loopback address only, asks for a token that is made for this sweep, and ends with
the process that began it, however that one ends (see `guard`). A cluster has to be running: with the store on a disk
that all hosts share,

    export RAY_AUTH_MODE=token; ray get-auth-token --generate           (once, where all hosts share a home)
    ray start --head --include-dashboard=false --disable-usage-stats    (on the first host)
    ray start --address=HOST:6379                                       (on the others)

or on SLURM ``srun ray symmetric-run --address HOST:6379 -- python train.py -m ...``; then
``hydra.launcher.executor.address=auto``.
"""

import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from dark_halo_scope import processes
from dark_halo_scope.bases import guard
from dark_halo_scope.bases.engine import N_ATTEMPTS, PAUSE_S, Outcome, Task, attempt

log = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 128 << 20  # tasks and their outcomes are small: artefacts go through the disk
_COUNT_EVERY_S = 10.0
_PATIENCE_S = 600  # a machine that is busy with other things is not a dead one
_GONE = (
    "Ray has ended or does not answer any more on this machine, whose memory may be full: what is done is in the "
    "stores, and the same command goes on with the rest"
)
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class EngineError(ValueError):
    """Ray cannot run what it is asked to."""


class PassingError(Exception):
    """Tells Ray to try a task again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class RayExecutor(AbstractContextManager["RayExecutor"]):
    """Runs tasks in processes of Ray; a process that dies takes only its own task with it, which is tried again.

    Args:
        address: Of a running cluster (``HOST:PORT``, or ``auto`` on one of its hosts); None: this machine alone.
        base_cpus: Cores of a base training.
        base_gpus: GPUs of a base training; a part of one shares it. None: 1 where there is a GPU, else 0.
        job_cpus: Cores of a fine-tuning.
        job_gpus: GPUs of a fine-tuning, likewise.
    """

    ahead = 10_000  # the more are known, the earlier the base models that hold others up are begun

    def __init__(
        self,
        address: str | None = None,
        base_cpus: float = 1,
        base_gpus: float | None = None,
        job_cpus: float = 1,
        job_gpus: float | None = None,
    ) -> None:
        self.address = address
        self._cpus = {"base": base_cpus, "job": job_cpus}
        self._gpus = {"base": base_gpus, "job": job_gpus}
        self._remote: dict[str, Any] = {}  # by kind of task: its function, once Ray is there
        self._open: dict[Any, Task] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._n_slots = 1
        self._next_count = 0.0

    def __exit__(self, *error: object) -> None:
        """Ends what still runs; nothing is lost, for stores hold whole artefacts only."""
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait()

    @property
    def n_open(self) -> int:
        """See `Executor`."""
        return len(self._open)

    def has_room(self) -> bool:
        """Whether fewer wait in Ray than run: the order of those that wait here can still be chosen."""
        if self._remote and time.monotonic() > self._next_count:
            self._count_slots()
        return len(self._open) < 2 * self._n_slots

    def submit(self, task: Task) -> None:
        """See `Executor`; the first one starts Ray, or joins the cluster."""
        if not self._remote:
            self._start()
        name = f"{task.kind} {task.key[:12]}"  # what the process is then called in lists of processes
        self._open[self._remote[task.kind].options(name=name).remote(task.function)] = task

    def ended(self, wait_s: float) -> Iterable[tuple[Task, Outcome]]:
        """See `Executor`."""
        if not self._open:
            return
        import ray

        ray.wait(list(self._open), num_returns=1, timeout=wait_s)
        done, _ = ray.wait(list(self._open), num_returns=len(self._open), timeout=0)
        for reference in done:
            yield self._open.pop(reference), _outcome(reference)

    def _start(self) -> None:
        _settle_environment(self.address)
        try:
            import ray
        except ModuleNotFoundError as error:
            raise EngineError(
                "hydra/launcher=ray_graph needs Ray: pip install -c constraints.txt -e '.[ray]', or take serial_graph, "
                "which runs one job after another"
            ) from error
        if self.address is None:
            session = _begin()
            self._guard = processes.start([sys.executable, "-m", guard.__name__, session], own_session=True)
        else:
            _join(self.address)
        has_gpu = ray.cluster_resources().get("GPU", 0) > 0
        for kind, asked in self._gpus.items():
            self._gpus[kind] = gpus = float(has_gpu) if asked is None else asked
            options: dict[str, Any] = {
                "num_cpus": self._cpus[kind],
                "num_gpus": gpus,
                "max_calls": 1 if gpus else 0,  # memory on a GPU is given back for sure by the end of a process only
                "max_retries": N_ATTEMPTS - 1,
                "retry_exceptions": [PassingError],
            }
            self._remote[kind] = ray.remote(**options)(_attempt)
            if not self._slots(kind):
                raise EngineError(
                    f"no machine has {self._cpus[kind]:g} CPUs and {gpus:g} GPUs for a {kind}: ask for less with "
                    f"hydra.launcher.executor.{kind}_cpus and {kind}_gpus"
                )
        self._count_slots()

    def _count_slots(self) -> None:
        n_slots, self._next_count = self._slots("job"), time.monotonic() + _COUNT_EVERY_S
        if not n_slots and self.address is None:
            raise EngineError(_GONE)
        if not n_slots:
            log.warning("no machine of the cluster has room for a job any more: waiting for one to come back")
        self._n_slots = max(1, n_slots)

    def _slots(self, kind: str) -> int:
        """How many tasks of a kind run at the same time, on all machines together."""
        import ray

        asked = {"CPU": self._cpus[kind], "GPU": self._gpus[kind] or 0}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(int(min(has.get(name, 0) // n for name, n in asked.items() if n)) for has in machines)


def _attempt(function: Callable[[], object]) -> Outcome:
    """In a process of Ray."""
    outcome = attempt(function)
    if outcome.passes:
        raise PassingError(outcome)
    return outcome


def _outcome(reference: Any) -> Outcome:
    import ray

    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except PassingError as error:
        return Outcome(f"{error.outcome.error} (at each of {N_ATTEMPTS} attempts)", error.outcome.trace)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
        return Outcome(f"its process was killed or crashed at each of {N_ATTEMPTS} attempts", str(error))
    except ray.exceptions.LocalRayletDiedError as error:
        raise EngineError(_GONE) from error
    except ray.exceptions.OutOfMemoryError as error:
        return Outcome("it needs more memory than the machine has left: run fewer at a time (job_cpus=)", str(error))
    except ray.exceptions.RayTaskError as error:  # of Ray's own making, as where a host lacks a package
        return Outcome(f"{type(error.cause).__name__}: {error.cause}", str(error))


def _settle_environment(address: str | None) -> None:
    """Set what Ray reads when it is imported and when it starts its processes."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its words on each attempt: what counts is told at the end
        "RAY_task_retry_delay_ms": f"{1000 * PAUSE_S:.0f}",
        "RAY_task_oom_retries": str(N_ATTEMPTS - 1),  # else, what needs too much memory is tried for ever
    }
    if address is None:
        settings["RAY_worker_register_timeout_seconds"] = str(_PATIENCE_S)
        settings["RAY_health_check_timeout_ms"] = str(1000 * _PATIENCE_S)
        settings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray then keeps to the loopback address, on any system
    os.environ.update(settings)


def _begin() -> str:
    """Start Ray on this machine; gives the folder of its session."""
    import ray

    n_cores = len(os.sched_getaffinity(0))
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    context: Any = ray.init("local", num_cpus=n_cores, **own, **_QUIET)
    return str(context.address_info["session_dir"])


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address, **_QUIET)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise EngineError(
            f"no Ray cluster takes this process at hydra.launcher.executor.address={address} ({error}): see that it "
            "runs, with the same RAY_AUTH_MODE and token as here, or leave the address out"
        ) from error
