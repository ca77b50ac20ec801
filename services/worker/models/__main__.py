"""`python -m services.worker.models add <reference>` and `list`: the store from a shell.

Owns arguments and wording. `make up` calls it before the services start, so that the bar of the
download is seen; it exits 1 with one line on a failure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from services.worker.models.acquire import acquire
from services.worker.models.references import parse_reference
from services.worker.models.store import ModelStore
from shared.errors import LLMZooError
from shared.progress import shown_on
from shared.settings import WorkerSettings, load


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    overrides = {} if options.dir is None else {"cache_dir": options.dir}
    try:
        settings = load(WorkerSettings, **overrides)
        if options.command == "list":
            return _list(ModelStore(settings.cache_dir))
        with shown_on(sys.stderr) as report:
            path = acquire(parse_reference(options.reference), settings, report)
    except LLMZooError as fault:
        sys.stderr.write(f"error: {fault.message}\n")
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell gives for Ctrl-C; nothing half-made is left
    print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.worker.models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="fetch and convert a model unless it is there")
    add.add_argument("reference", help="`demo`, `pypi:<distribution>` or a hub id")
    lister = commands.add_parser("list", help="show the models of the store")
    for command in (add, lister):
        command.add_argument("--dir", type=Path, help="cache folder instead of LLMZOO_CACHE_DIR")
    return parser


def _list(store: ModelStore) -> int:
    for model in store.list():
        print(f"{model.name}\t{model.wheel}\t{model.size / 1e6:.0f} MB\t{model.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
