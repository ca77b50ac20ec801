"""Which tensors have one row a token: the input embedding and the output head.

Owns the names that the families of transformers give to them.
"""

from __future__ import annotations

from collections.abc import Iterable

_EMBEDDINGS = (
    "embed_tokens.weight",  # Llama and most others
    "word_embeddings.weight",  # BLOOM, Falcon, ChatGLM
    "wte.weight",  # GPT-2, Qwen 1
    "embed_in.weight",  # GPT-NeoX
    "tok_embeddings.weight",  # InternLM 2
)
_HEADS = {
    "lm_head.weight": "lm_head.weight",
    "embed_in.weight": "embed_out.weight",
    "tok_embeddings.weight": "output.weight",
}
_HEAD_NAMES = set(_HEADS.values()) | {"lm_head.bias", "output_layer.weight"}


def is_embedding(name: str) -> bool:
    """Return whether the tensor `name` is an input embedding of tokens."""
    return any(name == known or name.endswith(f".{known}") for known in _EMBEDDINGS)


def is_head(name: str) -> bool:
    """Return whether the tensor `name` is an output head."""
    return any(name == known or name.endswith(f".{known}") for known in _HEAD_NAMES)


def has_token_rows(name: str) -> bool:
    """Return whether the tensor `name` has one row a token."""
    return is_embedding(name) or is_head(name)


def missing_head(names: Iterable[str]) -> dict[str, str]:
    """Return {head: embedding} for a model among whose tensors there is no head, else nothing."""
    known = list(names)
    embeddings = [name for name in known if is_embedding(name)]
    if len(embeddings) != 1 or any(is_head(name) for name in known):
        return {}
    last = ".".join(embeddings[0].rsplit(".", 2)[-2:])
    return {_HEADS.get(last, "lm_head.weight"): embeddings[0]}
