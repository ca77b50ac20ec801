"""The sampler: from logits to token ids, for all rows at once.

A draw depends on (seed, choice, index of the generated token) and the sequence's own tokens alone:
neither on the other rows nor on how often the sampler ran, so another worker can continue a
sequence exactly. Owns the parameters of the present rows as tensors, laid out anew when the rows
are others.

The order is vLLM's: mask, bias and penalties; temperature; min_p, top_k, top_p, each on what
the one before has left; the draw.
"""

from __future__ import annotations

from collections.abc import Sequence as ReadOnlySequence
from typing import cast

import torch

from services.worker.engine.adjustments import Adjustments
from services.worker.engine.sequence import (
    NO_TOKEN,
    Drawn,
    SamplingParams,
    Sequence,
    TokenLogprobs,
)
from services.worker.engine.truncation import (
    invert_cdf,
    keep_likely,
    keep_nucleus,
    keep_top,
    row_sums,
)
from services.worker.engine.uniforms import stream_key, uniforms

# Below this, probabilities are 0 and 1 in float32 anyway.
_GREEDY_BELOW = 1e-5


class Sampler:
    """One vectorised draw for all rows."""

    def __init__(self, device: torch.device, eos_token_ids: frozenset[int] = frozenset()) -> None:
        """Sample on `device`; `eos_token_ids` do not come before `min_tokens` have."""
        self._device = device
        self._adjustments = Adjustments(device, eos_token_ids)
        self._sequences: tuple[Sequence, ...] = ()
        self._params = _RowParams((), device)

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence."""
        self._adjustments.release(sequence)
        if sequence in self._sequences:
            self._forget_rows()

    def reset(self) -> None:
        """Forget all sequences."""
        self._adjustments.reset()
        self._forget_rows()

    def sample(
        self,
        logits: torch.Tensor,
        sequences: tuple[Sequence, ...],
        allowed: torch.Tensor | None = None,
    ) -> list[Drawn]:
        """Return the next token of each sequence; `NO_TOKEN` where no finite logit allows one.

        Args:
            logits: [sequences, vocabulary], any floating dtype.
            sequences: what the rows belong to; one that comes several times in a row gets its
                next token and as many after that, each as if those before had come.
            allowed: [sequences, vocabulary], bool: no other token is drawn; None: all are allowed.
        """
        if sequences != self._sequences:
            self._sequences, self._params = sequences, _RowParams(sequences, self._device)
        adjusted = self._adjustments.apply(logits, sequences, allowed)
        best, tokens = adjusted.max(dim=-1)
        finite = best.isfinite()
        if adjusted is not logits:
            # What is masked must not hide that the model is broken.
            finite &= logits.amax(dim=-1).isfinite()
        if self._params.any_draws:
            tokens = torch.where(self._params.draws, self._draw(adjusted), tokens)
        tokens = torch.where(finite, tokens, NO_TOKEN)
        self._adjustments.count(tokens, sequences)
        told = self._logprobs(logits, tokens)
        ids = cast("list[int]", tokens.tolist())  # pyright: ignore[reportUnknownMemberType]
        return [Drawn(token, told.get(row)) for row, token in enumerate(ids)]

    def _forget_rows(self) -> None:
        self._sequences, self._params = (), _RowParams((), self._device)

    def _draw(self, logits: torch.Tensor) -> torch.Tensor:
        params = self._params
        probs = torch.softmax(logits.float() / params.temperature, dim=-1)
        indices = torch.tensor(_indices(self._sequences), device=self._device)
        uniform = uniforms(params.key, indices)
        return invert_cdf(self._truncate(probs), uniform)

    def _truncate(self, probs: torch.Tensor) -> torch.Tensor:
        params = self._params
        if params.any_min_p:
            probs = keep_likely(probs, params.min_p)
        if params.largest_top_k:
            probs = keep_top(probs, params.top_k, params.largest_top_k)
        if params.any_top_p:
            if params.any_min_p or params.largest_top_k:
                # Only rows that have lost something: no row's sum is 1 to the last bit.
                cut = (params.min_p > 0) | (params.top_k > 0)
                probs = torch.where(cut, probs / row_sums(probs), probs)
            probs = keep_nucleus(probs, params.top_p)
        return probs

    def _logprobs(self, logits: torch.Tensor, tokens: torch.Tensor) -> dict[int, TokenLogprobs]:
        """Return the logprobs of the rows that ask: of the model's own logits, as in vLLM.

        Neither bias, penalties nor temperature are in them.
        """
        asking = self._params.logprobs
        if not asking:
            return {}
        rows = torch.tensor(list(asking), device=self._device)
        logprobs = torch.log_softmax(logits[rows].float(), dim=-1)
        chosen = logprobs.gather(1, tokens[rows].clamp(min=0)[:, None]).squeeze(1)
        top = logprobs.topk(min(max(asking.values()), logprobs.shape[-1]))
        values = cast("list[list[float]]", top.values.tolist())  # pyright: ignore[reportUnknownMemberType]
        ids = cast("list[list[int]]", top.indices.tolist())  # pyright: ignore[reportUnknownMemberType]
        own = cast("list[float]", chosen.tolist())  # pyright: ignore[reportUnknownMemberType]
        return {
            row: TokenLogprobs(own[at], tuple(zip(ids[at], values[at], strict=True))[:asked])
            for at, (row, asked) in enumerate(asking.items())
        }


class _RowParams:
    """The parameters of some rows, as columns; a greedy row is not truncated."""

    def __init__(self, sequences: ReadOnlySequence[Sequence], device: torch.device) -> None:
        params = [sequence.params for sequence in sequences]
        drawing = [p.temperature >= _GREEDY_BELOW for p in params]
        self.any_draws = any(drawing)
        self.logprobs = {row: p.logprobs for row, p in enumerate(params) if p.logprobs is not None}
        if not self.any_draws:
            return
        truncated = [p if drawn else _GREEDY for p, drawn in zip(params, drawing, strict=True)]
        self.draws = torch.tensor(drawing, device=device)
        self.temperature = _column([p.temperature for p in truncated], device)
        self.top_p = _column([p.top_p for p in truncated], device, torch.float64)
        self.top_k = _column([p.top_k for p in truncated], device, torch.int64)
        self.min_p = _column([p.min_p for p in truncated], device)
        self.any_min_p = any(p.min_p > 0 for p in truncated)
        self.any_top_p = any(p.top_p < 1 for p in truncated)
        self.largest_top_k = max(p.top_k for p in truncated)
        keys = [stream_key(s.params.seed, s.choice) for s in sequences]
        self.key = torch.stack(keys).to(device)


# What stands for a greedy row among the parameters of draws.
_GREEDY = SamplingParams(max_tokens=1, seed=0)


def _indices(sequences: ReadOnlySequence[Sequence]) -> list[int]:
    """Return which generated token each row draws."""
    indices: list[int] = []
    previous = None
    for sequence in sequences:
        again = sequence is previous
        indices.append(indices[-1] + 1 if again else len(sequence.output_ids))
        previous = sequence
    return indices


def _column(
    values: list[float] | list[int], device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device=device)[:, None]
