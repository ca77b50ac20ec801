"""Log lines of faults, in either form, in a process of their own."""

import subprocess
import sys

import pytest

FAILING = """
import structlog
from shared.logs import configure
from shared.settings import WorkerSettings

configure("worker", WorkerSettings(log_format="{form}"))
log = structlog.get_logger()

def step(prompt):
    raise RuntimeError("no such kernel")

try:
    step("what a user wrote".upper())
except RuntimeError:
    log.exception("engine_failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variables(form):
    code = FAILING.format(form=form)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "engine_failed" in ran.stderr
    assert "RuntimeError: no such kernel" in ran.stderr
    assert "WHAT A USER WROTE" not in ran.stderr


CHATTY = """
import logging
import structlog
from shared.logs import configure
from shared.settings import WorkerSettings

configure("worker", WorkerSettings(log_format="{form}", log_level="debug"))
logging.getLogger("httpcore.http11").debug("what a user wrote")
logging.getLogger("transformers").info("a library's word")
structlog.get_logger("services.worker.engine").debug("our own word")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_debug_is_ours_alone(form):
    code = CHATTY.format(form=form)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "our own word" in ran.stderr
    assert "a library's word" in ran.stderr
    assert "what a user wrote" not in ran.stderr
