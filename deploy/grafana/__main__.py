"""`python -m deploy.grafana`: write every dashboard into `deploy/grafana/dashboards`."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.boards import evaluator, models, overview, workers

FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write the files."""
    for name, text in texts().items():
        (FOLDER / name).write_text(text)


def texts() -> dict[str, str]:
    """Return the files' contents by their names."""
    boards = (overview.BOARD, models.BOARD, workers.BOARD, evaluator.BOARD)
    return {
        f"{board.name}.json": json.dumps(board.as_json(), indent=1, ensure_ascii=False) + "\n"
        for board in boards
    }


if __name__ == "__main__":
    main()
