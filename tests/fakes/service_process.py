"""A service of the zoo that serves nothing: `service_process.py ROLE [--exit N] [--deaf]`.

It listens on the socket handed down to it, else on the port that its environment names, is ready
at once, and does as it is told:
`POST /crash` ends it with exit code 3, `GET /environment` tells what it was given. `--exit 2`
ends it before it listens, `--deaf` ignores SIGTERM, `--loading` stays unready until
`POST /load`, `--brood` starts a child of its own. With `--mark FILE` every start but the first one
does what `--again` says: it ends before it listens (`exit`), or stays unready (`load`).
With `--lease FILE` it waits as long as the process lives that is named there, else it is named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FakeService(ThreadingHTTPServer):
    daemon_threads = False  # what it was asked before its end it answers

    def __init__(self, role: str, port: int, *, ready: bool) -> None:
        inherited = os.environ.get("LISTEN_PID") == str(os.getpid())
        super().__init__(("127.0.0.1", port), FakeHandler, bind_and_activate=not inherited)
        if inherited:
            self.socket.close()
            self.socket = socket.socket(fileno=3)
            # Another process may be quicker to accept what this one was woken for.
            self.socket.setblocking(False)
            assert self.socket.getsockname()[1] == port
        self.role = role
        self.ready = ready
        self.lease: Path | None = None

    def waits(self) -> bool:
        if self.lease is None:
            return False
        with contextlib.suppress(FileExistsError), self.lease.open("x") as file:
            file.write(str(os.getpid()))
        holder = self.lease.read_text()
        if holder == str(os.getpid()):
            return False
        try:
            os.kill(int(holder), 0)
        except ProcessLookupError:
            self.lease.unlink()  # and it is had when asked again
        except ValueError:
            pass  # its name is being written
        return True

    def stop(self, *_: object) -> None:
        print(f"{self.role} stops", flush=True)
        # `shutdown` waits for the serving thread, which is the one that got the signal.
        threading.Thread(target=self.shutdown).start()


class FakeHandler(BaseHTTPRequestHandler):
    server: FakeService

    def do_GET(self) -> None:
        if self.path == "/health/ready":
            if self.server.waits():
                self._answer(503, {"state": "starting", "waits": True, "pid": os.getpid()})
                return
            ready = self.server.ready
            body = {"state": "ready"} if ready else {"state": "loading", "progress": 0.43}
            self._answer(200 if ready else 503, {**body, "pid": os.getpid()})
        elif self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": "fake-model"}]})
        else:
            self._answer(200, dict(os.environ))

    def do_POST(self) -> None:
        if self.path == "/crash":
            print("crashing as told", flush=True)
            os._exit(3)
        self.server.ready = True
        self._answer(200, {})

    def log_request(self, *_: object) -> None:
        """Say nothing: a test reads what the service says."""

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("--exit", type=int)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--loading", action="store_true")
    parser.add_argument("--brood", action="store_true")
    parser.add_argument("--mark", type=Path)
    parser.add_argument("--again", choices=("exit", "load"))
    parser.add_argument("--lease", type=Path)
    told = parser.parse_args()
    if told.mark is not None and told.mark.exists():
        told.exit = 2 if told.again == "exit" else None
        told.loading = told.again == "load"
    elif told.mark is not None:
        told.mark.touch()
    if told.exit is not None:
        print(f"{told.role}: LLMZOO_MODEL names nothing", flush=True)
        return told.exit
    if told.brood:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    port = int(os.environ[f"LLMZOO_{told.role.upper()}_PORT"])
    service = FakeService(told.role, port, ready=not told.loading)
    service.lease = told.lease
    signal.signal(signal.SIGTERM, signal.SIG_IGN if told.deaf else service.stop)
    print("\x1b[32mlistening\x1b[0m", flush=True)
    service.serve_forever()
    service.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
