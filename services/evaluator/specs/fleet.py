"""What a spec names, asked of the fleet: models that are served, judges that answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from services.evaluator.specs.findings import Findings
from shared.errors import LLMZooError, Unavailable
from shared.protocol.evals.spec import Judge

ServedModels = Callable[[], Awaitable[Mapping[str, object]]]
"""Returns what is served, by name; raises LLMZooError where nobody can tell."""
AskJudge = Callable[[Judge], Awaitable[object]]
"""Lets a judge answer something small; raises LLMZooError where it does not."""

_RETRY_AFTER_SECONDS = 5.0


async def check_models(findings: Findings, served: ServedModels) -> None:
    """Note each model that is named and not served.

    Raises:
        Unavailable: the controller cannot be asked; what is not known is not passed.
    """
    if not findings.models:
        return
    try:
        known = await served()
    except LLMZooError as fault:
        raise Unavailable(
            f"Which models are served cannot be asked now: {fault.message}",
            code="models_unknown",
            retry_after=fault.retry_after or _RETRY_AFTER_SECONDS,
        ) from fault
    told: set[tuple[str, str]] = set()
    for where, model in findings.models:
        if model not in known and (where, model) not in told:
            told.add((where, model))
            # Without a pointer it stands in the eval, which the client does not see here.
            name = "" if where else f"the eval's {model[:256]!r} "
            findings.add(where, f"{name}is no model that is served here")


async def check_judges(judges: list[Judge], findings: Findings, ask: AskJudge) -> None:
    """Note each judge that does not answer."""
    for judge in judges:
        try:
            await ask(judge)
        except LLMZooError as fault:
            findings.add("/check_judge", f"the judge {judge.model!r} failed: {fault.message}")
