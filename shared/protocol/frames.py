"""Frames: what a worker sends a controller while it answers one request.

A frame on the wire is a 4-byte big-endian length of what follows, a 1-byte kind, and the
kind's payload. `tokens` and `end` carry ready-made OpenAI bytes, so that the controller
forwards them without parsing JSON; the ids beside them are what it keeps account of.

    start      JSON {id, created, model, seed, prompt_tokens, fingerprint, choices, deterministic}
    tokens     u32 sequence number, u16 choice, u16 count, count x u32 token ids, SSE bytes
    keepalive  nothing: the worker lives, no token yet
    end        u32 length of JSON {finish_reasons, prompt_tokens, completion_tokens}, that
               JSON, then the last SSE bytes (stream) or the whole JSON body (unary)
    error      JSON {status, retry_after, error}
    ledger     JSON {last_sequence_number, token_ids}: what came before, for one who takes over

Owns the byte layout. Knows no socket and no engine.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import orjson

MEDIA_TYPE = "application/x-llmzoo-frames"
REQUEST_HEADER = "x-llmzoo-frames"
MAX_FRAME_BYTES = 64 * 1024 * 1024

_LENGTH = struct.Struct(">I")
_TOKENS = struct.Struct(">IHH")
_HEAD_SIZE = _LENGTH.size + 1
_START, _TOKENS_KIND, _KEEPALIVE, _END, _ERROR, _LEDGER = range(1, 7)

HANDED_BACK = "handed_back"
"""Code of the `error` frame of a worker that stops before the answer's end: another may go on."""


class FrameError(ValueError):
    """The bytes are no frames."""


@dataclass(slots=True)
class StartFrame:
    """The request was admitted; everything a continuation needs beside the body."""

    id: str
    created: int
    model: str
    seed: int
    prompt_tokens: int
    fingerprint: str
    choices: int = 1
    deterministic: bool = False


class TokensFrame(NamedTuple):
    """Some new tokens of one choice, and the SSE bytes to forward (empty: text held back)."""

    sequence_number: int
    choice: int
    token_ids: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class KeepaliveFrame:
    """The worker lives."""


@dataclass(slots=True)
class EndFrame:
    """All choices are finished; `data` ends the stream or is the whole unary body."""

    finish_reasons: list[str]
    prompt_tokens: int
    completion_tokens: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """The request failed after it was admitted; `error` is OpenAI's error object."""

    status: int
    error: dict[str, Any]
    retry_after: float | None = None


@dataclass(slots=True)
class LedgerFrame:
    """The tokens of all frames up to a number, by choice; they are not sent again."""

    last_sequence_number: int
    token_ids: list[list[int]]


Frame = StartFrame | TokensFrame | KeepaliveFrame | EndFrame | ErrorFrame | LedgerFrame


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes."""
    match frame:
        case StartFrame():
            kind, payload = _START, orjson.dumps(asdict(frame))
        case TokensFrame(number, choice, ids, data):
            head = _TOKENS.pack(number, choice, len(ids))
            kind, payload = _TOKENS_KIND, head + struct.pack(f">{len(ids)}I", *ids) + data
        case KeepaliveFrame():
            kind, payload = _KEEPALIVE, b""
        case EndFrame(reasons, prompt_tokens, completion_tokens, data):
            head = orjson.dumps(
                {
                    "finish_reasons": reasons,
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                }
            )
            kind, payload = _END, _LENGTH.pack(len(head)) + head + data
        case ErrorFrame():
            kind, payload = _ERROR, orjson.dumps(asdict(frame))
        case LedgerFrame():
            kind, payload = _LEDGER, orjson.dumps(asdict(frame))
    return _LENGTH.pack(len(payload) + 1) + bytes((kind,)) + payload


class FrameDecoder:
    """Turns pieces of a byte stream into frames, whatever their boundaries.

    `fault` says that the bytes are no frames from some place on; the stream is lost there.
    """

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self.fault: FrameError | None = None
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[Frame]:
        """Return the frames that `piece` completes, up to a fault if there is one."""
        frames: list[Frame] = []
        try:
            if self._buffer:
                self._buffer += piece
                if not _is_complete(self._buffer):
                    return frames
                piece = bytes(self._buffer)
                self._buffer.clear()
            start, size = 0, len(piece)
            while (end := _end(piece, start)) <= size:
                kind = piece[start + _LENGTH.size]
                start += _HEAD_SIZE
                frames.append(
                    _decode_tokens(piece, start, end)
                    if kind == _TOKENS_KIND
                    else _decode(kind, piece[start:end])
                )
                start = end
            if start < size:
                self._buffer += piece[start:]
        except FrameError as fault:
            self.fault = fault
        return frames


def _is_complete(buffer: bytearray) -> bool:
    """Return whether the buffer holds its first frame."""
    return _end(buffer, 0) <= len(buffer)


def _end(data: bytes | bytearray, start: int) -> int:
    """Return where the frame at `start` ends, which may lie beyond what is there."""
    if len(data) - start < _LENGTH.size:
        return start + _LENGTH.size
    (length,) = _LENGTH.unpack_from(data, start)
    if not 1 <= length <= MAX_FRAME_BYTES:
        msg = f"a frame of {length} bytes"
        raise FrameError(msg)
    return start + _LENGTH.size + length


def _decode(kind: int, payload: bytes) -> Frame:
    try:
        match kind:
            case 1:
                return StartFrame(**orjson.loads(payload))
            case 3:
                return KeepaliveFrame()
            case 4:
                (length,) = _LENGTH.unpack_from(payload)
                head = payload[_LENGTH.size : _LENGTH.size + length]
                return EndFrame(**orjson.loads(head), data=payload[_LENGTH.size + length :])
            case 5:
                return ErrorFrame(**orjson.loads(payload))
            case 6:
                return LedgerFrame(**orjson.loads(payload))
            case _:
                msg = f"a frame of the unknown kind {kind}"
                raise FrameError(msg)
    except (struct.error, TypeError, ValueError) as fault:
        msg = f"a malformed frame of kind {kind}: {fault}"
        raise FrameError(msg) from fault


def _decode_tokens(piece: bytes, start: int, end: int) -> TokensFrame:
    """Return the frame whose payload is a part of `piece`, which is not copied for it."""
    data = start + _TOKENS.size
    if data > end:
        msg = f"a malformed frame of kind {_TOKENS_KIND}: it ends within its head"
        raise FrameError(msg)
    number, choice, count = _TOKENS.unpack_from(piece, start)
    ids_at, data = data, data + 4 * count
    if data > end:
        msg = f"{count} token ids announced, {end - start - _TOKENS.size} bytes there"
        raise FrameError(msg)
    # By far the most frames have one token, whose form is known beforehand.
    ids = _LENGTH.unpack_from(piece, ids_at) if count == 1 else _ids(piece, ids_at, count)
    return TokensFrame(number, choice, ids, piece[data:end])


def _ids(piece: bytes, start: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f">{count}I", piece, start)
