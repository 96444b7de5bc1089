"""A real HTTP server on loopback that answers webhooks by a script and keeps what came."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stallwart.core.decision import Decision


@dataclass(frozen=True)
class Came:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> str:
        return Decision.model_validate_json(self.body).decision_id


@dataclass(frozen=True)
class Reply:
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    endless: bool = False


class Receiver:
    """`answer(came)` says what is answered; it may wait, and runs in a thread of its own."""

    def __init__(self, answer=lambda _came: Reply()):
        self.answer = answer
        self.came: list[Came] = []
        self._lock = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                came = Came(self.path, dict(self.headers.items()), body)
                receiver._keep(came)
                reply = receiver.answer(came)
                try:
                    self._reply(reply)
                except ConnectionError:  # whoever asked waits no longer
                    self.close_connection = True

            def _reply(self, reply):
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if not reply.endless:
                    self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
                while reply.endless:
                    self.wfile.write(b"x" * 65_536)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _keep(self, came):
        with self._lock:
            self.came.append(came)
            self._lock.notify_all()

    def wait_for(self, enough, seconds=30.0):
        """Whether `enough(what came)` became true in time."""
        with self._lock:
            return self._lock.wait_for(lambda: enough(list(self.came)), seconds)

    @property
    def told(self) -> list[str]:
        return [came.told for came in self.came]

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
