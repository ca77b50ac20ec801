"""The system's Chromium, for tests that drive a page."""

from __future__ import annotations

import shutil

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
