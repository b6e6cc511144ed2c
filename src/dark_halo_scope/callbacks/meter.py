"""What one run pays into the ledger, and whether the cap leaves room to go on."""

import atexit
import time
from dataclasses import dataclass

from dark_halo_scope.callbacks.ledger import HOUR, Account, Ledger, Total, committed, spent
from dark_halo_scope.monitoring.process import ProcessName, age_s

SAFETY = 1.5  # on measured durations: workers on one machine that all stop at once slow each other down


class BudgetError(ValueError):
    """A budget that cannot be kept."""


class BudgetSpentError(BudgetError):
    """A budget with no room for another run: it may go on when the cap is raised."""


@dataclass(frozen=True)
class Caps:
    """The most that all runs of a ledger may cost together; None for no limit."""

    usd: float | None
    hours: float | None  # of all machines or GPUs

    def fraction(self, total: Total) -> float:
        """How much of the cap is taken, of the one that is reached first."""
        parts = [(total.usd, self.usd), (total.hours, self.hours)]
        return max((value / cap for value, cap in parts if cap is not None), default=0.0)

    def __str__(self) -> str:
        named = [
            None if self.usd is None else f"${self.usd:.2f}",
            None if self.hours is None else f"{self.hours:.3g} h",
        ]
        return " and ".join(filter(None, named)) or "no cap"


class Meter:
    """A run's account while the run goes on.

    Paid is the life of the process from its start to its end; a process that runs one trial after the other hands over
    from each one's account to the next.

    Args:
        ledger: of all the runs that the caps are for.
        caps: what they may cost.
        run: name of this one.
        units: machines or GPUs that it occupies.
        usd_per_unit_hour: their price.
        unseen_s: seconds kept for what has not been measured yet.

    Raises:
        BudgetSpentError: the caps leave no room for one more run; the process pays for its own end all the same.
    """

    _open: "Meter | None" = None  # this process's
    _paid_until: float | None = None  # by this process

    def __init__(
        self, ledger: Ledger, caps: Caps, run: str, units: int, usd_per_unit_hour: float, unseen_s: float
    ) -> None:
        if Meter._open is not None:
            Meter._open.close()
        now = time.time()
        since = Meter._paid_until if Meter._paid_until is not None else now - age_s()
        self.ledger, self.caps, self.unseen_s = ledger, caps, unseen_s
        self.account = Account(run, ProcessName.own(), since, units, usd_per_unit_hour, now, unseen_s)
        self._fit_ended_at: float | None = None
        with ledger.turn() as accounts:
            has_room = self._fits(accounts)
            needed_s, gone = self.account.hold_s, spent([*accounts, self.account], now)
            if not has_room:
                self.account.hold_s = 0.0
            accounts.append(self.account)
        Meter._open = self
        atexit.register(self.close)
        if not has_room:
            raise BudgetSpentError(
                f"the budget of {caps} leaves no room for another run: ${gone.usd:.2f} and {gone.hours:.3f} h are "
                f"spent ({ledger.path}), and {needed_s:.0f} s are needed to end one in good order; "
                "raise the cap, or lower callbacks.budget.reserve_s"
            )

    @classmethod
    def opened_for(cls, run: str) -> "Meter | None":
        """The meter that this process has opened for a run that has yet to train, if there is one."""
        meter = cls._open
        return meter if meter and meter.account.run == run and meter._fit_ended_at is None else None

    def may_go_on(self, next_look_s: float, tests_per_validation: float) -> tuple[bool, Total]:
        """Whether there is room until the next look; and what all runs have spent.

        Args:
            next_look_s: seconds until then, at most.
            tests_per_validation: size of the test split, in validation splits.
        """
        account = self.account
        if account.stopping_at is None:
            account.hold_s = SAFETY * next_look_s + self._needed_s(tests_per_validation)
        with self.ledger.turn() as accounts:
            self._write(accounts)
            now = time.time()
            goes_on = account.stopping_at is None and self.caps.fraction(committed(accounts, now)) < 1.0
            if not goes_on and account.stopping_at is None:
                account.stopping_at = now
                self._write(accounts)
            return goes_on, spent(accounts, now)

    def end_training(self) -> None:
        """From here on the run uses up what it holds."""
        self._fit_ended_at = time.time()
        self.account.stopping_at = self.account.stopping_at or self._fit_ended_at
        self.beat()

    def beat(self) -> Total:
        """Show that the run lives; what all runs have spent."""
        with self.ledger.turn() as accounts:
            self._write(accounts)
            return spent(accounts, time.time())

    def close(self) -> None:
        """End the account: at the end of the process, or when its next run begins."""
        atexit.unregister(self.close)
        now = time.time()
        self.account.closed_at = Meter._paid_until = now
        if self._fit_ended_at is not None:
            self.account.finish_s = now - self._fit_ended_at
        self.beat()
        Meter._open = None

    def _needed_s(self, tests_per_validation: float) -> float:
        """Seconds to end in good order: validation and checkpoint, then validation and test of the best, and report."""
        account = self.account
        now_s = SAFETY * (account.validation_s + account.checkpoint_s)
        if account.finish_s:
            return now_s + SAFETY * account.finish_s
        return now_s + SAFETY * account.validation_s * (1.0 + tests_per_validation) + self.unseen_s

    def _fits(self, accounts: list[Account]) -> bool:
        """Whether the caps leave room for this run to end in good order, by what earlier ones have measured."""
        for name in ("validation_s", "checkpoint_s", "finish_s"):
            setattr(self.account, name, max((getattr(account, name) for account in accounts), default=0.0))
        self.account.hold_s = self._needed_s(1.0)
        return self.caps.fraction(committed([*accounts, self.account], time.time())) <= 1.0

    def _write(self, accounts: list[Account]) -> None:
        own = (self.account.process, self.account.since)
        (position,) = [k for k, account in enumerate(accounts) if (account.process, account.since) == own]
        self.account.beat_at = time.time()
        accounts[position] = self.account


def cost(seconds: float, account: Account) -> float:
    """Price of some seconds of a run, in USD."""
    return seconds / HOUR * account.units * account.usd_per_unit_hour
