"""`python -m services.cli` is the command `llmzoo`."""

from __future__ import annotations

from services.cli.main import main

if __name__ == "__main__":
    main()
