"""`llmzoo delta make` and `llmzoo delta apply`: one model out of another and what they differ in.

Owns the options and what is printed. Imports torch when a command runs, not before.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from services.cli.long_work import long_work
from shared.progress import Stage, bytes_of

if TYPE_CHECKING:
    from shared.compression.deltas import Summary

Base = Annotated[Path, typer.Option(help="The folder of the model that both sides have.")]
MaxShardBytes = Annotated[
    int, typer.Option(min=1, help="The size of each file; a kill loses one at most.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def make_delta(
    *,
    base: Base,
    target: Annotated[Path, typer.Option(help="The folder of the model to be had from it.")],
    out: Annotated[Path, typer.Option(help="The delta's folder, which must not exist.")],
    max_shard_bytes: MaxShardBytes = 2_000_000_000,
    as_json: AsJSON = False,
) -> None:
    """Write what turns the model BASE into the model TARGET.

    All three are folders of safetensors. The delta keeps every bit: whoever has BASE gets exactly TARGET from it, with its config and tokenizer. A killed command goes on where it was.

    \b
    Example:
      llmzoo delta make --base llama-7b --target my-chat-7b --out my-chat-7b-delta
    """  # noqa: D301 - \b keeps the example's lines apart
    with long_work("llmzoo delta") as show:
        from shared.compression.deltas import make_delta as make  # noqa: PLC0415

        report = bytes_of(Stage.SAVING, show)
        summary = make(base, target, out, report, max_shard_bytes=max_shard_bytes)
    _tell(summary, as_json=as_json)


def apply_delta(
    *,
    base: Base,
    delta: Annotated[Path, typer.Option(help="The delta's folder.")],
    out: Annotated[Path, typer.Option(help="The model's folder, which must not exist.")],
    max_shard_bytes: MaxShardBytes = 2_000_000_000,
    as_json: AsJSON = False,
) -> None:
    """Write the model that DELTA makes of the model BASE.

    Base and result are compared with the checksums in the delta. A delta of FastChat or LLMZoo, which has none, is added in its own dtype. A killed command goes on where it was.

    \b
    Example:
      llmzoo delta apply --base llama-7b --delta my-chat-7b-delta --out my-chat-7b
    """  # noqa: D301 - \b keeps the example's lines apart
    with long_work("llmzoo delta") as show:
        from shared.compression.deltas import ADDITIVE  # noqa: PLC0415
        from shared.compression.deltas import apply_delta as apply  # noqa: PLC0415

        report = bytes_of(Stage.SAVING, show)
        summary = apply(base, delta, out, report, max_shard_bytes=max_shard_bytes)
    if summary.format == ADDITIVE:
        print(
            f"{delta} has no delta.json: it was added to the base, which nothing could check.",
            file=sys.stderr,
        )
    _tell(summary, as_json=as_json)


def _tell(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        content = {
            "folder": str(summary.folder),
            "format": summary.format,
            "tensors": summary.tensors,
            "bytes": summary.nbytes,
        }
        print(orjson.dumps(content).decode())
    else:
        print(f"{summary.folder}: {summary.tensors} tensors, {summary.nbytes:,} bytes")
