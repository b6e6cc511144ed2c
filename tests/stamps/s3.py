"""A real S3 endpoint on the loopback interface, and a real HTTP proxy before it that breaks answers on demand."""

import http.client
import itertools
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

_NUMBERS = itertools.count()
SECRET = "wJalrXUtnFEMI-loopback-secret"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIALOOPBACKKEY",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def s3_server():
    """Address host:port of the endpoint; environment variables let anyone in."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, survey, monkeypatch):
    """The dataset that the module's fixture ``survey`` gives, in a bucket."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with Bucket(s3_server) as bucket:
        bucket.upload(survey)
        yield bucket


class FaultyProxy:
    """Passes requests on to ``upstream`` (host:port) and spoils the answers to GETs of parquet files.

    Faults, taken from ``faults`` one a GET while there are any, else ``always``: a status (``"500"``), ``"cut"`` (half
    of the body, then the connection ends), ``"slow"`` (0.5 s for the body), ``"silent"`` (half of the body, then
    nothing until `close`), ``"flip"`` (a bit is wrong), ``"fine"``.

    Attributes:
        gets: Paths of the GETs of parquet files, in their order.
        etag: Sent instead of the true ETag.
    """

    def __init__(self, upstream: str) -> None:
        self.faults: deque[str] = deque()
        self.always = "fine"
        self.etag: str | None = None
        self.gets: list[str] = []
        self.closing = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                proxy.answer(self, upstream)

            do_HEAD = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, upstream: str) -> None:
        fault = "fine"
        if request.command == "GET" and request.path.endswith(".parquet"):
            self.gets.append(request.path)
            fault = self.faults.popleft() if self.faults else self.always
        if fault.isdigit():
            request.send_response(int(fault))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        connection = http.client.HTTPConnection(upstream)
        connection.request(request.command, request.path, headers=dict(request.headers))
        response = connection.getresponse()
        body = response.read()
        request.send_response(response.status)
        for name, value in response.getheaders():
            if name not in ("Server", "Date", "Connection"):
                request.send_header(name, self.etag if name == "ETag" and self.etag else value)
        request.end_headers()
        connection.close()
        self._send(request, body, fault)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, fault: str) -> None:
        half = len(body) // 2
        if fault == "flip":
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        if fault not in ("cut", "slow", "silent"):
            request.wfile.write(body)
            return
        request.wfile.write(body[:half])
        request.wfile.flush()
        if fault == "slow":
            time.sleep(0.5)
            request.wfile.write(body[half:])
            return
        if fault == "silent":
            self.closing.wait()
        request.close_connection = True


class Bucket:
    """A bucket with one dataset below ``dr10/``, seen through a `FaultyProxy`."""

    def __init__(self, server: str) -> None:
        self.proxy = FaultyProxy(server)
        self._client = boto3.client("s3", endpoint_url=f"http://{server}")
        self.name = f"survey-{next(_NUMBERS)}"  # all endpoints of a process have the same buckets
        self._client.create_bucket(Bucket=self.name)
        self.root = f"s3://{self.name}/dr10?endpoint_override={self.proxy.endpoint}&scheme=http"

    def upload(self, folder: Path) -> None:
        for file in sorted(folder.glob("*.parquet")):
            self._client.put_object(Bucket=self.name, Key=f"dr10/{file.name}", Body=file.read_bytes())

    def __enter__(self) -> "Bucket":
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.close()
