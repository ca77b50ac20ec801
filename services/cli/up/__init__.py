"""The supervisor behind `llmzoo up` and `llmzoo down`; no torch, no web framework."""

from services.cli.up.commands import run_down, run_up
from services.cli.up.plan import UpOptions
from services.cli.up.restart import run_restart

__all__ = ["UpOptions", "run_down", "run_restart", "run_up"]
