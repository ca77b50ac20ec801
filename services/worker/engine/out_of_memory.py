"""Which of torch's errors says that memory has run out, told without torch."""

from __future__ import annotations

OUT_OF_MEMORY = "There was not memory enough for this prompt; a shorter one may fit."

# Of the CPU's allocator, which raises a bare RuntimeError.
_TEXT = "can't allocate memory"


def is_out_of_memory(fault: BaseException) -> bool:
    """Tell torch.OutOfMemoryError, and what the CPU's allocator raises, from other faults."""
    return type(fault).__name__ == "OutOfMemoryError" or _TEXT in str(fault)
