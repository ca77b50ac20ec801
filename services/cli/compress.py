"""`llmzoo compress`: a model folder in fewer bytes, and what that costs.

Owns the options and what is printed. Imports torch when the command runs, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from services.cli.long_work import long_work
from services.cli.table import columns
from shared.errors import ConfigurationError
from shared.progress import Stage, bytes_of

if TYPE_CHECKING:
    from shared.compression.packed_folder import FolderReport, PackedLayer
    from shared.compression.quality import Quality

_WORST = 5
# The last is of 8 bits in groups, LLMZoo's form, to compare with the one of 8 bits a row.
_HEAD = ("LAYER", "SHAPE", "BYTES", "WERE", "ERROR", "IN GROUPS OF 256")
_BITS = (4, 8)


def compress(
    model: Annotated[str, typer.Argument(help="A folder, a hub id, demo or pypi:<distribution>.")],
    *,
    out: Annotated[Path, typer.Option(help="The folder to write, which must not exist.")],
    bits: Annotated[int, typer.Option(help="4 or 8.")] = 4,
    group_size: Annotated[
        int | None,
        typer.Option(help="Inputs that share a scale, with 4 bits: 32, 64, 128 or 256; 32."),
    ] = None,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="4 bits without a zero point: smaller, worse.")
    ] = False,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Layers to leave as they are; can be repeated."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="A text to read before and after: perplexity is compared.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every layer.")] = False,
) -> None:
    """Write a model with its Linears in 4 or 8 bits.

    8 bits have one scale a row. The folder can be served as it is; compression.json in it lists every layer's size and error. A killed command goes on where it was.

    \b
    Examples:
      llmzoo compress demo --bits 8 --out demo-8bit
      llmzoo compress ./my-model --bits 4 --group-size 32 --out my-model-4bit --text sample.txt
    """  # noqa: D301 - \b keeps the examples' lines apart
    if bits not in _BITS:
        raise ConfigurationError(f"--bits is 4 or 8, not {bits}", param="--bits")
    if bits == max(_BITS) and (group_size is not None or symmetric):
        raise ConfigurationError("--group-size and --symmetric are for 4 bits", param="--bits")
    words = _read(text)
    with long_work("llmzoo compress") as show:
        from services.worker.models.acquire import acquire  # noqa: PLC0415
        from services.worker.models.references import parse_reference  # noqa: PLC0415
        from services.worker.models.store import MANIFEST  # noqa: PLC0415
        from shared.compression.packed_folder import compress_folder  # noqa: PLC0415
        from shared.compression.quality import measure  # noqa: PLC0415
        from shared.compression.scheme import Scheme  # noqa: PLC0415
        from shared.settings import WorkerSettings, load  # noqa: PLC0415

        scheme = Scheme("int4", group_size or 32, symmetric) if bits == 4 else Scheme("int8")  # noqa: PLR2004
        source = acquire(parse_reference(model), load(WorkerSettings), show)
        packing = bytes_of(Stage.COMPRESSING, show)
        report = compress_folder(
            source,
            out,
            scheme,
            skip=skip or (),
            leave_out={MANIFEST},  # says what lies in the cache's folder, not in this one
            report=packing,
        )
        quality = words and measure(source, out, words, bytes_of(Stage.JUDGING, show))
    if as_json:
        print(orjson.dumps({**asdict(report), "quality": quality or None}, default=str).decode())
    else:
        print("\n".join(_lines(report, quality or None)))


def _lines(report: FolderReport, quality: Quality | None) -> Iterator[str]:
    worst = sorted(report.layers, key=lambda layer: layer.relative_error, reverse=True)[:_WORST]
    yield from columns(_HEAD, [_cells(layer) for layer in worst])
    yield f"the {len(worst)} of {len(report.layers)} layers with the largest error; all are in compression.json"
    share = report.bytes_after / report.bytes_before
    yield f"{report.folder}: {report.scheme}, {report.bytes_after:,} bytes, {share:.0%} of {report.bytes_before:,}"
    if quality is not None:
        yield (
            f"perplexity {quality.perplexity_before:.3f} -> {quality.perplexity_after:.3f} "
            f"({quality.increase:+.2%}), same likeliest token {quality.top1_agreement:.1%}, "
            f"{quality.tokens:,} tokens"
        )


def _cells(layer: PackedLayer) -> tuple[str, ...]:
    other = layer.group_256_error
    return (
        layer.name,
        f"{layer.shape[0]}x{layer.shape[1]}",
        f"{layer.bytes_after:,}",
        f"{layer.bytes_before:,}",
        f"{layer.relative_error:.3%}",
        "-" if other is None else f"{other:.3%}",
    )


def _read(text: Path | None) -> str | None:
    """Read the text before hours of work, not after."""
    try:
        return None if text is None else text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError(f"{text} cannot be read: {fault}", param="--text") from fault
