"""In which shape an eval and what belongs to it is told: ours, or OpenAI's for one of its bodies.

Owns only which; OpenAI's shapes are in `openai_shapes`. What shape an eval has never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from services.evaluator.jobs.store import EvalStore
from shared.protocol.evals.run import Evaluation

_KEPT = 1_000


class Shapes:
    """Remembers the shapes of evals, so that asking for a run reads no questions."""

    def __init__(self, store: EvalStore) -> None:
        """Ask `store` for what is not known."""
        self._store = store
        self._openai: OrderedDict[str, bool] = OrderedDict()

    def of(self, evaluation: Evaluation) -> bool:
        """Return whether an eval is told in OpenAI's shape."""
        found = openai_of(evaluation) is not None
        self._openai[evaluation.id] = found
        self._openai.move_to_end(evaluation.id)
        while len(self._openai) > _KEPT:
            self._openai.popitem(last=False)
        return found

    async def is_openai(self, eval_id: str) -> bool:
        """Return the same by the eval's id. Raises as `EvalStore.get_eval`."""
        known = self._openai.get(eval_id)
        return self.of(await self._store.get_eval(eval_id)) if known is None else known


def openai_of(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return the body of OpenAI's API that an eval was made from."""
    return evaluation.spec.get("openai")
