"""A person chats with the real model in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.fakes.browser import CHROMIUM, FLAGS, ask_for_paris

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.zoo import Zoo


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.model,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed"),
]


def test_chat_in_the_browser(zoo: Zoo, tmp_path: Path) -> None:
    foreign: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.on(
            "request",
            lambda request: (
                foreign.append(request.url)
                if not request.url.startswith((zoo.webui, "data:", "blob:"))
                else None
            ),
        )
        page.goto(zoo.webui)
        ask_for_paris(page)
        page.screenshot(path=str(tmp_path / "chat.png"))
        browser.close()
    assert not foreign
    # One id, which the page's conversation log holds, in the lines of each service.
    zoo.wait_for(lambda: any(line["msg"] == "answered" for line in zoo.logged("webui")), 10)
    answered = [line for line in zoo.logged("webui") if line["msg"] == "answered"][-1]
    for service in ("controller", "worker"):
        ids = [line.get("request_id") for line in zoo.logged(service)]
        assert answered["request_id"] in ids
