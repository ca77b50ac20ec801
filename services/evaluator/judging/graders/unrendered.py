"""A grade that cannot be asked for: a template names what the item does not have."""

from __future__ import annotations

from typing import Any

from services.evaluator.judging.assessment import Form
from services.evaluator.judging.faults import Fault
from shared.errors import InvalidSpec
from shared.protocol.evals.item import Verdict


class UnrenderedAssessment:
    """No call and no verdict; the rule of the verdict says why."""

    forms: tuple[Form, ...] = ()

    def __init__(self, fault: Fault) -> None:
        """Take the reason."""
        self._fault = fault

    def local(self) -> Verdict:
        """Return the undecoded verdict."""
        return Verdict(rule=self._fault)

    def request(self, form: Form) -> dict[str, Any]:
        """Refuse: there is nothing to ask."""
        del form
        raise InvalidSpec([("/input", "A template names what the item does not have.")])

    def read(self, form: Form, reply: str, logprobs: list[Any] | None) -> Verdict:
        """Return the undecoded verdict."""
        del form, reply, logprobs
        return self.local()

    def again(self, form: Form, reply: str, verdict: Verdict) -> dict[str, Any]:
        """Refuse: there is nothing to ask."""
        del reply, verdict
        return self.request(form)
