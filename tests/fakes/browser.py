"""The system's Chromium, for tests that drive a page."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or ""
"""Path of the browser; empty when Debian's chromium is not installed."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""No sandbox, since containers and CI run as root; nothing asks other hosts."""


def ask_for_paris(page: Page) -> None:
    """Ask the chat page one question at temperature 0, and wait for the demo model's answer."""
    page.get_by_role("button", name="Settings").click()
    temperature = page.get_by_label("number input for Temperature")
    temperature.fill("0")
    temperature.press("Tab")
    box = page.get_by_role("textbox", name="Message")
    box.fill("What is the capital of France?")
    box.press("Enter")
    expect(page.get_by_role("log")).to_contain_text("Paris", timeout=60_000)
