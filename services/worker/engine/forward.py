"""The forward pass of a model over one step's line of tokens, in the best way known for its class.

Owns the choice of that way. Knows no sequence, no sampling and no policy.
"""

from __future__ import annotations

from collections.abc import Sequence as ReadOnlySequence
from typing import Protocol

import structlog
import torch
from transformers import PreTrainedModel

from services.worker.engine.decoder import Decoder, is_llama_shaped
from services.worker.engine.linears import pack_linears
from services.worker.engine.own_attention import OwnAttentionForward
from services.worker.engine.step import Step
from services.worker.engine.stock_forward import StockForward
from services.worker.engine.support import has_own_attention

log = structlog.get_logger(__name__)


class Forward(Protocol):
    """A model that keeps its keys and values in the step's rows."""

    def logits(self, step: Step, wanted: ReadOnlySequence[int] | None) -> torch.Tensor:
        """Run the step; return logits [wanted, vocabulary] in the model's dtype.

        Args:
            step: the line of tokens, padding included.
            wanted: positions in the line, each the last token of a row; None: all of them.
        """
        ...


def make_forward(model: PreTrainedModel) -> Forward:
    """Return the model's forward pass; the model is changed and belongs to it from now on.

    Raises:
        ModelNotSupported: its attention was to be replaced and cannot be.
    """
    name = type(model).__name__
    if is_llama_shaped(model):
        return Decoder(model)
    pack_linears(model)
    if has_own_attention(model):
        log.info("own_attention", model=name)
        return OwnAttentionForward(model)
    # Slower than it could be: nothing is fused.
    log.info("own_structure", model=name)
    return StockForward(model)
