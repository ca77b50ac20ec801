"""A run in words: its progress, its money, its end."""

from __future__ import annotations

from shared.protocol.evals.run import CallCounts, Run, RunStatus, Usage

_MINUTE, _HOUR = 60, 3600


def progress_line(run: Run, pace: float | None) -> str:
    """Return how far a run is, on one line."""
    progress = run.progress
    what = items_word(run)
    parts = [
        run.status.value,
        f"answers {progress.answered}/{progress.answers_total}",
        f"{what} {progress.done}/{progress.total}",
        *side_notes(run, pace),
    ]
    return ", ".join(parts)


def items_word(run: Run) -> str:
    """Return what a run's items are: where they are as many as answers, they may be answers."""
    same = run.progress.total == run.progress.answers_total
    return "items" if same else "reviews"


def side_notes(run: Run, pace: float | None) -> list[str]:
    """Return what is told beside the counts: faults, pace, time left, cost."""
    progress, notes = run.progress, list[str]()
    if progress.undecoded:
        notes.append(f"{progress.undecoded} undecoded")
    if progress.errored:
        notes.append(f"{progress.errored} errored")
    if pace is not None:
        notes.append(f"{pace:.1f}/s")
    if run.eta_s is not None and not run.status.over:
        notes.append(f"{duration(run.eta_s)} left")
    cost = run.usage.answers.cost_usd + run.usage.judge.cost_usd
    if cost:
        notes.append(money(cost))
    return notes


def duration(seconds: float) -> str:
    """Return a time such as 0:42, 12:05 or 3:10:00."""
    whole = round(seconds)
    hours, rest = divmod(whole, _HOUR)
    minutes, left = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def money(dollars: float) -> str:
    """Return an amount; small ones with as many digits as tell them apart."""
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.4f}"


def usage_line(usage: Usage) -> str:
    """Return what a run used, answers and judge apart."""
    parts: list[str] = []
    for name, part in (("answers", usage.answers), ("judge", usage.judge)):
        tokens = part.prompt_tokens + part.completion_tokens
        cost = f", {money(part.cost_usd)}" if part.cost_usd else ""
        parts.append(f"{name} {part.calls:,} calls, {tokens:,} tokens{cost}")
    if usage.possibly_repeated:
        parts.append(f"{usage.possibly_repeated} calls possibly made twice")
    return "; ".join(parts)


def counts_lines(counts: CallCounts) -> list[str]:
    """Return what a run would ask for."""
    cost = "unknown: some model has no price" if counts.cost_usd is None else money(counts.cost_usd)
    if counts.cost_usd_at_most:
        cost = f"{cost}, at most {money(counts.cost_usd_at_most)}"
    tokens = f"about {counts.prompt_tokens:,} in, {counts.completion_tokens:,} out"
    return [
        f"calls for answers  {counts.answers:,}",
        f"calls of judges    {counts.judge:,}, at most {counts.judge_at_most:,}",
        f"tokens             {tokens}, at most {counts.tokens_at_most:,} in all",
        f"cost               {cost}",
        *(f"warning: {text}" for text in counts.warnings),
    ]


def end_line(run: Run) -> str:
    """Return how a run ended, and how it can go on if it did not complete."""
    match run.status:
        case RunStatus.COMPLETED:
            return f"{run.id} is completed."
        case RunStatus.FAILED:
            why = f": {' '.join(run.error.split())}" if run.error else "."
            return f"{run.id} has failed{why}"
        case RunStatus.CANCELED:
            why = f" ({run.reason})" if run.reason else ""
            return f"{run.id} was canceled{why}. Go on with: llmzoo eval resume {run.id}"
        case _:
            return f"{run.id} is {run.status}."
