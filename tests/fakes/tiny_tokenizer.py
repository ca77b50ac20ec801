"""Tokenizers made in the test: GPT-2's kind (bytes) and SentencePiece's kind (words, byte fallback).

They have what the worker needs of a transformers tokenizer and nothing else, so that no test
of it imports transformers.
"""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from shared.templates import ChatTemplate
from shared.templates.jinja_template import JinjaTemplate

START, END, BEGIN = "<|im_start|>", "<|im_end|>", "<|begin|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' and loop.first %}"
    "{{ raise_exception('the first message must not be of the assistant') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ADDED = ("wörld x", "<tool>")


def byte_level() -> Tokenizer:
    """256 bytes, a few merges that cut through characters, special and plain added tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("ð", "Ł"), ("½", "ł"), ("å", "¥")]
    vocabulary = [*alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END, BEGIN])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in ADDED])
    return tokenizer


def sentencepiece() -> Tokenizer:
    """Words behind a lower one eighth block, all else as bytes, one space stripped at the start."""
    words = ["▁", "▁the", "▁world", "a", "b", "c", ".", "\ufffd", "é"]
    vocabulary = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    tokenizer = Tokenizer(
        models.BPE(
            {text: i for i, text in enumerate(vocabulary)},
            [],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer


class TinyTokenizer:
    """A tokenizer, as far as `prompts.ChatTokenizer` goes, and a template for it."""

    def __init__(self, backend: Tokenizer | None = None, *, bos: str | None = None) -> None:
        self.backend_tokenizer = backend or byte_level()
        self.bos_token_id = None if bos is None else self.backend_tokenizer.token_to_id(bos)
        self.template: ChatTemplate | None = JinjaTemplate(TEMPLATE)
