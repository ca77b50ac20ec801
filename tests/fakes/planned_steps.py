"""Steps of a scheduler without an engine: every row gets a token as soon as it may."""

from __future__ import annotations

from services.worker.engine.scheduler import Scheduler, StepPlan


def plan_step(scheduler: Scheduler) -> StepPlan:
    """Plan a step and do what the engine would after it, but end nothing."""
    plan = scheduler.schedule()
    decoding = [sequence for group in plan.groups for sequence in group.sequences]
    for sequence in (*decoding, *(chunk.sequence for chunk in plan.chunks)):
        if sequence.draws:
            sequence.output_ids.append(7)
    for chunk in plan.chunks:
        if scheduler.is_whole(chunk.sequence):
            scheduler.join(chunk.sequence)
    return plan
