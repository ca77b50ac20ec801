"""`llmzoo drain`: one worker out of service, or back into it.

Owns what is printed. The worker is told by the controller.
"""

from __future__ import annotations

from urllib.parse import quote

from services.cli.client import call
from shared.settings import ClientSettings


def drain_worker(settings: ClientSettings, worker_id: str, *, undo: bool) -> None:
    """Have the worker drained, or take that back; raises as ZooClient."""
    path = f"/admin/workers/{quote(worker_id, safe='')}/drain"
    if undo:
        call(settings, lambda client: client.delete(path))
        print(f"{worker_id} takes requests again.")
    else:
        call(settings, lambda client: client.post(path, {}))
        print(f"{worker_id} takes nothing new; what runs there finishes.")
