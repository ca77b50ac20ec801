"""A choice that another worker has begun.

Its tokens so far go through detokeniser and stop strings as they did there, so that text held back
is held back here. Owns what of a choice was sent already and is not sent again. Knows neither the
other choices nor the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.worker.choice import Choice, Delta
from services.worker.engine.engine import StepOutput
from shared.errors import ContinuationDiffers


class ResumedChoice(Choice):
    """A choice whose first outputs the engine may have to give again."""

    _again: Sequence[int] = ()
    _came_again = 0

    def expect_again(self, token_ids: Sequence[int]) -> None:
        """Take these for sent: they come once more, for their logprobs alone."""
        self._again = token_ids

    def take(self, outputs: list[StepOutput]) -> Delta:
        """Take steps in, up to a stop string; the delta has nothing of what was sent already.

        Raises:
            ContinuationDiffers: a token that came again is another one than was sent.
        """
        missing = len(self._again) - self._came_again
        if not missing:
            return super().take(outputs)
        sent, new = outputs[:missing], outputs[missing:]
        for output in sent:
            # Without a token the engine has failed or was told to end; others see to that.
            if output.token_id is not None and output.token_id != self._again[self._came_again]:
                raise ContinuationDiffers(
                    f"Token {self._came_again} of those generated again for their logprobs is "
                    f"{output.token_id}, where {self._again[self._came_again]} was sent."
                )
            self._came_again += 1
        super().take(sent)
        return super().take([] if self.over else new)
