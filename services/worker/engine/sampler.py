"""The sampler: from logits to token ids, for all rows at once.

Owns each slot's sampling parameters and its place in its stream of random numbers. A draw
depends on (seed, choice, index of the generated token) and the row's own tokens alone: neither
on the other rows nor on how often the sampler ran, so another worker can continue a sequence
exactly.

The order is vLLM's: mask, bias and penalties; temperature; min_p, top_k, top_p, each on what
the one before has left; the draw.
"""

from __future__ import annotations

from collections.abc import Sequence as ReadOnlySequence
from dataclasses import dataclass
from typing import cast

import torch

from services.worker.engine.adjustments import Adjustments
from services.worker.engine.sequence import NO_TOKEN, SamplingParams, Sequence, TokenLogprobs
from services.worker.engine.truncation import invert_cdf, keep_likely, keep_nucleus, keep_top
from services.worker.engine.uniforms import stream_key, uniforms

# Below this, probabilities are 0 and 1 in float32 anyway.
_GREEDY_BELOW = 1e-5


class Sampler:
    """Parameters in slots, and one vectorised draw."""

    def __init__(
        self, slots: int, device: torch.device, eos_token_ids: frozenset[int] = frozenset()
    ) -> None:
        """Hold `slots` greedy rows; `eos_token_ids` do not come before `min_tokens` have."""
        self._temperature = torch.ones(slots, 1, device=device)
        self._top_p = torch.ones(slots, 1, dtype=torch.float64, device=device)
        self._top_k = torch.zeros(slots, 1, dtype=torch.int64, device=device)
        self._min_p = torch.zeros(slots, 1, device=device)
        self._key = torch.zeros(slots, dtype=torch.int64, device=device)
        self._index = torch.zeros(slots, dtype=torch.int64, device=device)
        self._random = torch.zeros(slots, dtype=torch.bool, device=device)
        # The same on the host, so that choosing the path waits for no device.
        self._host = [_HostState() for _ in range(slots)]
        self._adjustments = Adjustments(device, eos_token_ids)
        self._logprobs: dict[int, TokenLogprobs] = {}
        self._device = device

    def assign(self, slot: int, sequence: Sequence) -> None:
        """Give a slot to a sequence; it goes on from the tokens that the sequence has."""
        params = sequence.params
        host = self._host[slot] = _host_state(params)
        self._temperature[slot] = params.temperature if host.draws else 1.0
        self._top_p[slot] = host.top_p
        self._top_k[slot] = host.top_k
        self._min_p[slot] = host.min_p
        self._key[slot] = stream_key(params.seed, sequence.choice)
        self._index[slot] = len(sequence.output_ids)
        self._random[slot] = host.draws
        self._adjustments.assign(slot, sequence)

    def move(self, source: int, target: int) -> None:
        """Hand a slot's state to another; the source is free then."""
        for state in (
            self._temperature,
            self._top_p,
            self._top_k,
            self._min_p,
            self._key,
            self._index,
            self._random,
        ):
            state[target] = state[source]
        self._host[target] = self._host[source]
        self._adjustments.move(source, target)

    def sample(
        self, logits: torch.Tensor, rows: slice, allowed: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the next token ids, int64 [rows], of the slots `rows`.

        A row whose logits are not finite, or which may have no token, gets `NO_TOKEN`.

        Args:
            logits: [rows, vocabulary], any floating dtype.
            rows: the slots that the logits belong to, in order.
            allowed: [rows, vocabulary], bool: no other token is drawn; None: all are allowed.
        """
        slots = range(len(self._host))[rows]
        adjusted = self._adjustments.apply(logits, slots, allowed)
        best, tokens = adjusted.max(dim=-1)
        finite = best.isfinite()
        if adjusted is not logits:
            # What is masked must not hide that the model is broken.
            finite &= logits.amax(dim=-1).isfinite()
        if any(host.draws for host in self._host[rows]):
            tokens = torch.where(self._random[rows], self._draw(adjusted, rows), tokens)
        tokens = torch.where(finite, tokens, NO_TOKEN)
        self._adjustments.count(tokens, slots)
        self._note_logprobs(logits, tokens, slots)
        return tokens

    def logprobs(self, slot: int) -> TokenLogprobs | None:
        """Return the logprobs of the token that the slot got last; None: it asked for none.

        To be asked before any slot moves.
        """
        return None if self._host[slot].logprobs is None else self._logprobs.get(slot)

    def _draw(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        probs = torch.softmax(logits.float() / self._temperature[rows], dim=-1)
        probs = self._truncate(probs, rows)
        uniform = uniforms(self._key[rows], self._index[rows])
        self._index[rows] += 1
        return invert_cdf(probs, uniform)

    def _truncate(self, probs: torch.Tensor, rows: slice) -> torch.Tensor:
        hosts = self._host[rows]
        has_min_p = any(host.min_p > 0 for host in hosts)
        largest = max(host.top_k for host in hosts)
        if has_min_p:
            probs = keep_likely(probs, self._min_p[rows])
        if largest:
            probs = keep_top(probs, self._top_k[rows], largest)
        if any(host.top_p < 1 for host in hosts):
            if has_min_p or largest:
                # Only rows that have lost something: no row's sum is 1 to the last bit.
                cut = (self._min_p[rows] > 0) | (self._top_k[rows] > 0)
                probs = torch.where(cut, probs / probs.sum(dim=-1, keepdim=True), probs)
            probs = keep_nucleus(probs, self._top_p[rows])
        return probs

    def _note_logprobs(
        self, logits: torch.Tensor, tokens: torch.Tensor, slots: ReadOnlySequence[int]
    ) -> None:
        """Keep the logprobs of the rows that ask: of the model's own logits, as in vLLM.

        Neither bias, penalties nor temperature are in them.
        """
        asking = {
            row: asked
            for row, slot in enumerate(slots)
            if (asked := self._host[slot].logprobs) is not None
        }
        if not asking:
            return
        rows = torch.tensor(list(asking), device=self._device)
        logprobs = torch.log_softmax(logits[rows].float(), dim=-1)
        chosen = logprobs.gather(1, tokens[rows].clamp(min=0)[:, None]).squeeze(1)
        top = logprobs.topk(min(max(asking.values()), logprobs.shape[-1]))
        values = cast("list[list[float]]", top.values.tolist())  # pyright: ignore[reportUnknownMemberType]
        ids = cast("list[list[int]]", top.indices.tolist())  # pyright: ignore[reportUnknownMemberType]
        own = cast("list[float]", chosen.tolist())  # pyright: ignore[reportUnknownMemberType]
        for at, (row, asked) in enumerate(asking.items()):
            best = tuple(zip(ids[at], values[at], strict=True))[:asked]
            self._logprobs[slots[row]] = TokenLogprobs(own[at], best)


@dataclass(frozen=True, slots=True)
class _HostState:
    """What decides, on the host, which work a slot needs; a greedy one is not truncated."""

    logprobs: int | None = None
    draws: bool = False
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def _host_state(params: SamplingParams) -> _HostState:
    if params.temperature < _GREEDY_BELOW:
        return _HostState(params.logprobs)
    return _HostState(params.logprobs, True, params.top_k, params.top_p, params.min_p)
