"""The system's nginx with the shipped configuration, before two controllers."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import httpx

from shared.http.server import bind
from tests.fakes.command_line import PROJECT
from tests.fakes.waiting import eventually

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
SHIPPED = PROJECT / "deploy" / "nginx" / "llmzoo.conf"

_AROUND = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
daemon off;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/llmzoo.conf;
}}
"""


class Nginx:
    """Spreads what comes over the ports `first` and `second`."""

    def __init__(self, folder: Path, first: int, second: int, **headers: str) -> None:
        listener = bind("127.0.0.1", 25_000, next_free=True)
        port = listener.port
        listener.sock.close()
        self.log = folder / "llmzoo.log"
        self._folder = folder
        ports = {"8000": first, "8100": second, "8080": port}
        text = SHIPPED.read_text().replace("/var/log/nginx/llmzoo.log", str(self.log))
        for shipped, ours in ports.items():
            assert text.count(f"127.0.0.1:{shipped}") == 1
            text = text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{ours}")
        (folder / "llmzoo.conf").write_text(text)
        (folder / "nginx.conf").write_text(_AROUND.format(folder=folder))
        self.client = httpx.AsyncClient(
            base_url=listener.url, headers=headers, timeout=20, trust_env=False
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Nginx:
        assert NGINX is not None
        with (self._folder / "stderr.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(NGINX, "-p", self._folder, "-c", self._folder / "nginx.conf"), stderr=log
            )
        await eventually(self._live)
        return self

    async def stop(self) -> None:
        await self.client.aclose()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()

    async def _live(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, (self._folder / "stderr.log").read_text()
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get("/health/live")).is_success
        return False
