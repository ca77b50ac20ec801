"""What all reviews have in common that a judge is asked for, whoever wrote the prompt.

Owns how a reply becomes a verdict: the reader, the judge's wish not to be read in sentences, the
likelihood of scores. Knows no prompt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.faults import Fault
from services.evaluator.judging.kinds.kind import Kind
from services.evaluator.judging.likelihood import likely_scores
from services.evaluator.judging.own_words import Source
from services.evaluator.judging.replies import read_reply
from services.evaluator.judging.requests import asked_again, forms_of
from services.evaluator.judging.scales import Scale
from services.evaluator.judging.wording import Wording
from shared.protocol.evals.item import Verdict
from shared.protocol.evals.spec import Judge


class AssessmentByJudge(ABC):
    """One review for which a judge is asked."""

    def __init__(self, judge: Judge, wording: Wording, scale: Scale) -> None:
        """Take the judge, the language in which it is asked, and between what its scores lie."""
        self._judge = judge
        self._wording = wording
        self._scale = scale
        self.forms = forms_of(judge)

    @abstractmethod
    def request(self, form: Form) -> dict[str, Any]:
        """Return the body of the chat request that asks for the verdict."""

    def read(self, form: Form, reply: str, logprobs: list[Any] | None) -> Verdict:
        """Return what a reply says, scores weighted by their likelihood if that is asked for."""
        verdict = read_reply(self._kind, form, reply, self._source)
        if self._judge.prose == "undecoded" and verdict.confidence == "low":
            return Verdict(rule=Fault.PROSE)
        if self._judge.logprobs and logprobs and verdict.scores:
            return likely_scores(verdict, reply, logprobs, *self._scale)
        return verdict

    def again(self, form: Form, reply: str, verdict: Verdict) -> dict[str, Any]:
        """Return the one more request after a reply that could not be read."""
        body = self.request(form)
        return asked_again(body, reply, verdict, self._form(form), self._wording)

    def local(self) -> Verdict:
        """Return no verdict: a judge has to be asked."""
        return Verdict(rule=Fault.UNREADABLE)

    @cached_property
    @abstractmethod
    def _kind(self) -> Kind:
        """What a verdict is."""

    @cached_property
    @abstractmethod
    def _source(self) -> Source:
        """What a reply can repeat."""

    @abstractmethod
    def _form(self, form: Form) -> str:
        """Return what the judge is told of the form of its reply."""
