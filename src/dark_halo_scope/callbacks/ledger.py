"""What the runs of a project, or the trials of a sweep, have cost so far: one file that they share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dark_halo_scope.files import write_json
from dark_halo_scope.jobs import only_process
from dark_halo_scope.monitoring.process import ProcessName

HOUR = 3600.0
SILENCE_S = 600.0  # after which a process of another host, which cannot be seen, is taken to be dead


@dataclass
class Account:
    """What one run spends. Times are seconds since 1970.

    A run that goes on holds the time that it takes to end in good order, so that runs beside it leave that alone.
    """

    run: str
    process: ProcessName
    since: float
    units: int  # machines or GPUs that are paid for
    usd_per_unit_hour: float
    beat_at: float
    hold_s: float  # from now on, or from `stopping_at` on
    stopping_at: float | None = None
    closed_at: float | None = None
    validation_s: float = 0.0  # longest ones so far
    checkpoint_s: float = 0.0
    finish_s: float = 0.0  # from the end of training to the end of the run; 0 as long as there was none

    def spent_h(self, now: float) -> float:
        """Unit-hours so far. A run that died is charged up to its last beat."""
        end = now if self._goes_on(now) else self.closed_at or self.beat_at
        return self.units * max(0.0, end - self.since) / HOUR

    def held_h(self, now: float) -> float:
        """Unit-hours that it needs to end."""
        if not self._goes_on(now):
            return 0.0
        used_s = now - self.stopping_at if self.stopping_at is not None else 0.0
        return self.units * max(0.0, self.hold_s - used_s) / HOUR

    def _goes_on(self, now: float) -> bool:
        life = self.process.life()
        is_silent = life == "elsewhere" and now - self.beat_at > SILENCE_S
        return self.closed_at is None and life != "gone" and not is_silent


@dataclass(frozen=True)
class Total:
    """A sum over accounts."""

    usd: float
    hours: float  # of all units


def spent(accounts: list[Account], now: float) -> Total:
    """What is gone."""
    return _total((account, account.spent_h(now)) for account in accounts)


def committed(accounts: list[Account], now: float) -> Total:
    """What would be gone if all runs were told to end now."""
    return _total((account, account.spent_h(now) + account.held_h(now)) for account in accounts)


def _total(hours: Iterator[tuple[Account, float]]) -> Total:
    pairs = list(hours)
    return Total(sum(h * account.usd_per_unit_hour for account, h in pairs), sum(h for _, h in pairs))


class Ledger:
    """The accounts in a file. Processes take turns at it, and it is replaced in one step.

    Args:
        path: of the file, on a disk that all runs share.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def turn(self) -> Iterator[list[Account]]:
        """The accounts, to be read and changed; they are written back if the block changes them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with only_process(self.path.with_name(f".{self.path.name}.lock")):
            before = self._read()
            accounts = [_account(content) for content in before]
            yield accounts
            after = [asdict(account) for account in accounts]
            if after != before:
                write_json(self.path, {"accounts": after})

    def _read(self) -> list[dict[str, Any]]:
        return list(json.loads(self.path.read_text())["accounts"]) if self.path.exists() else []


def _account(content: dict[str, Any]) -> Account:
    return Account(**{**content, "process": ProcessName(**content["process"])})
