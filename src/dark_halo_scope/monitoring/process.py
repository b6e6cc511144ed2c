"""Processes of this host, told apart even where the system has given a number out again."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Life = Literal["running", "stopped", "gone", "elsewhere"]


@dataclass(frozen=True)
class ProcessName:
    """What one process is called, over hosts and over time."""

    host: str
    pid: int
    started_ticks: int  # clock ticks from the host's boot to the start of the process

    @classmethod
    def own(cls) -> "ProcessName":
        """Name of this process."""
        return cls(socket.gethostname(), os.getpid(), _stat(os.getpid())[1])

    def life(self) -> Life:
        """Whether the process lives: ``stopped`` by a signal, ``gone``, or ``elsewhere``, out of sight from here."""
        if self.host != socket.gethostname():
            return "elsewhere"
        try:
            state, started_ticks = _stat(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return "gone"
        if started_ticks != self.started_ticks or state in "ZX":  # another one's number, or a dead one not yet reaped
            return "gone"
        return "stopped" if state in "Tt" else "running"


def age_s() -> float:
    """Seconds since this process was started."""
    since_boot_s = float(Path("/proc/uptime").read_text().split()[0])
    return since_boot_s - _stat(os.getpid())[1] / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time in ticks: fields 3 and 22 of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before it may hold anything
    return fields[0], int(fields[19])
