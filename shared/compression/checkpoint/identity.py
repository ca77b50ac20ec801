"""What decides the content of a folder that is written from others, told without reading them.

Owns what makes a killed attempt safe to take up: the same files, unchanged since.
"""

from __future__ import annotations

from shared.compression.checkpoint.reader import CheckpointReader


def identity_of(task: str, *sources: CheckpointReader) -> str:
    """Return a text that differs when the task or a file of a source does."""
    parts = [task]
    for source in sources:
        for shard in source.shards:
            state = shard.stat()
            parts.append(f"{shard.absolute()} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(parts)
