"""As much of a W&B server as saving a view asks for, on loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class WandbServer:
    """Answers GraphQL while the block lasts; keeps the views that it is sent."""

    def __init__(self, status: int = 200) -> None:
        self.views: list[dict[str, Any]] = []
        answer, views = self._answer(), self.views

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/graphql" and "upsertView" in (request := json.loads(body))["query"]:
                    views.append(request["variables"])
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @staticmethod
    def _answer() -> bytes:
        viewer = {"id": "VXNlcjox", "entity": "team", "username": "user"}
        view = {"id": "VmlldzoxMjM=", "name": "abc-v"}
        return json.dumps({"data": {"viewer": viewer, "upsertView": {"view": view, "inserted": True}}}).encode()
