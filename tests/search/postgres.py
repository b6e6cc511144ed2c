"""A PostgreSQL server of its own on loopback, for as long as a test needs it."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy

from tests.search.searches import wait_for


def find_server() -> Path | None:
    """The folder of `postgres` and `initdb`, if there is one on this machine."""
    on_path = shutil.which("postgres")
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return Path(on_path).parent if on_path else packaged[-1].parent if packaged else None


@contextlib.contextmanager
def server(programs: Path, folder: Path) -> Iterator[str]:
    """Start a server with its data in `folder`; gives the URL of an empty database."""
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups"]
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        for parent in folder.parents[:-1]:
            parent.chmod(parent.stat().st_mode | 0o011)
    data, port = folder / "data", _free_port()
    initdb = [*as_user, str(programs / "initdb"), "-D", str(data), "-U", "halo", "--auth=trust", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(port), "-F"]
    with (folder.parent / "postgres.log").open("w") as log:
        process = subprocess.Popen([*as_user, str(programs / "postgres"), "-D", str(data), *options], stderr=log)
    url = f"postgresql://halo@127.0.0.1:{port}/postgres"
    try:
        wait_for(lambda: _answers(url))
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
