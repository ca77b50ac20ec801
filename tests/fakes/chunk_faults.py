"""What a fault in one prompt's chunk comes to, as in the model runner."""

from __future__ import annotations

from services.worker.engine.out_of_memory import OUT_OF_MEMORY, is_out_of_memory
from services.worker.engine.sequence import NO_TOKEN, Drawn

_OF_ONE_PROMPT = (RuntimeError, ValueError, IndexError, ArithmeticError)


def failed_chunk(fault: Exception) -> Drawn:
    """Return what the sequence gets; a fault that no prompt brings is raised."""
    if not isinstance(fault, _OF_ONE_PROMPT):
        raise fault
    return Drawn(NO_TOKEN, error=OUT_OF_MEMORY if is_out_of_memory(fault) else "")
