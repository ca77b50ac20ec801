"""What the jobs ask models with: bodies of chat requests, and whoever sends them.

Owns what a candidate is sent, turn by turn. Sends nothing: `Calls` and `Estimates` are what is
needed of those who do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from services.evaluator.judging.assessment import Assessment, ReviewTask
from shared.protocol.evals.run import Candidate, RunSpec
from shared.protocol.evals.spec import EvalSpec, Question

Assess = Callable[[EvalSpec, int, ReviewTask], Assessment]


class Reply(Protocol):
    """One whole answer of a model."""

    @property
    def text(self) -> str:
        """What it wrote."""
        ...

    @property
    def finish_reason(self) -> str:
        """Why it ended."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """As the server counted them."""
        ...

    @property
    def completion_tokens(self) -> int:
        """As the server counted them."""
        ...

    @property
    def model_version(self) -> str:
        """As the server told it."""
        ...

    @property
    def logprobs(self) -> list[Any] | None:
        """Entries of `choices[0].logprobs.content`."""
        ...

    @property
    def cost_usd(self) -> float:
        """What the call cost."""
        ...

    @property
    def seconds(self) -> float | None:
        """How long its server took; None: it is the answer of an earlier call."""
        ...

    @property
    def repeats(self) -> int:
        """How often it may have been made beside the time that brought the answer."""
        ...


class Calls(Protocol):
    """Makes calls."""

    async def ask(self, body: dict[str, Any], *, salt: str = "") -> Reply:
        """Return the answer to a chat request; raises LLMZooError."""
        ...


class Estimate(Protocol):
    """What a call uses: at most, or as it is expected."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        ...

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer."""
        ...

    @property
    def cost_usd(self) -> float | None:
        """None: the model's price is not known."""
        ...


class Estimates(Protocol):
    """Knows what a call may cost before it is made."""

    def estimate(self, body: dict[str, Any]) -> Estimate:
        """Return the most that a call uses."""
        ...


class Conversation:
    """The calls that one answer takes: one for each thing that the user says."""

    def __init__(
        self, candidate: Candidate, question: Question, spec: RunSpec, turns: tuple[str, ...]
    ) -> None:
        """Begin behind `turns`, answers that are there already."""
        self._candidate = candidate
        self._said = [] if question.messages else question.turns
        self._sampling = (candidate.sampling or spec.sampling).model_dump(exclude_none=True)
        self._messages: list[dict[str, Any]] = []
        if candidate.system is not None:
            self._messages.append({"role": "system", "content": candidate.system})
        self._messages += [message.model_dump() for message in question.messages or ()]
        self.turns = list(turns)
        for said, answer in zip(self._said, turns, strict=False):
            self._messages += [_user(said), {"role": "assistant", "content": answer}]

    @property
    def calls_left(self) -> int:
        """Return how many calls are to be made."""
        return (len(self._said) or 1) - len(self.turns)

    def request(self) -> dict[str, Any]:
        """Return the body of the next call."""
        said = self._said[len(self.turns)] if self._said else None
        messages = [*self._messages, *([] if said is None else [_user(said)])]
        return {"model": self._candidate.model, "messages": messages, **self._sampling}

    def rest(self) -> dict[str, Any]:
        """Return a body as long as the last call's will be, without the answers before it."""
        rest = [_user(said) for said in self._said[len(self.turns) :]]
        return {
            "model": self._candidate.model,
            "messages": [*self._messages, *rest],
            **self._sampling,
        }

    def heard(self, text: str) -> None:
        """Note the answer to the last call."""
        if self._said:
            said = self._said[len(self.turns)]
            self._messages += [_user(said), {"role": "assistant", "content": text}]
        self.turns.append(text)


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}
