"""Which chat template a model gets: the one that was named, its own, or its family's.

Owns the order, and the sentence for a model that has none. There is no template for all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from shared.errors import ConfigurationError, NoChatTemplate
from shared.templates.catalogue import families, find_family, match_family
from shared.templates.family import load_family
from shared.templates.family_prompt import FamilyTemplate
from shared.templates.jinja_template import JinjaTemplate
from shared.templates.messages import Messages
from shared.templates.rendered import Rendered


class ChatTemplate(Protocol):
    """A family's format or a Jinja template."""

    name: str
    stop: tuple[str, ...]
    """Strings that end an answer, beside the model's end of text."""
    writes_bos: bool
    """It writes the token that begins every text, where the model has one."""
    identity: str
    """The same for the same prompts: part of a worker's fingerprint."""

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> Rendered:
        """Return the prompt of a conversation."""
        ...


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before anything of it is loaded.

    `own` is the tokenizer's template, or several by name; `names` are the model's.
    """

    own: str | Mapping[str, str] | None = None
    special_tokens: Mapping[str, str] | None = None
    names: Sequence[str] = ()
    model_type: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A template and, for the log, why it is this one."""

    template: ChatTemplate
    why: str


def choose_template(facts: ModelFacts, named: str = "") -> Choice:
    """Return the chat template of a model.

    Args:
        facts: of the model.
        named: a family, one of the tokenizer's templates, or a `.jinja` or `.toml` file; it goes
            before all others.

    Raises:
        ConfigurationError: what was named is not there or is wrong.
        NoChatTemplate: nothing was named, and neither tokenizer nor family has one.
    """
    if named:
        return Choice(_named(named, facts), "it was named")
    if facts.own is not None:
        return Choice(_own(facts), "the tokenizer brings it")
    match = match_family(list(facts.names), facts.model_type)
    if match is None:
        known = ", ".join(families())
        raise NoChatTemplate(
            "The model brings no chat template, and its name and type tell no family. Name one "
            f"with LLMZOO_CHAT_TEMPLATE: a .jinja or .toml file, or one of {known}.",
            param="chat_template",
        )
    family, why = match
    return Choice(FamilyTemplate(family), why)


def _named(named: str, facts: ModelFacts) -> ChatTemplate:
    file = Path(named).expanduser()
    match file.suffix:
        case ".toml":
            return FamilyTemplate(load_family(file))
        case ".jinja" | ".j2":
            return JinjaTemplate(_read(file), facts.special_tokens, file.name)
        case _ if isinstance(facts.own, Mapping) and named in facts.own:
            return JinjaTemplate(facts.own[named], facts.special_tokens, named)
        case _:
            return FamilyTemplate(find_family(named))


def _own(facts: ModelFacts) -> ChatTemplate:
    own = facts.own
    if isinstance(own, Mapping):
        if "default" not in own:
            raise ConfigurationError(
                f"The tokenizer brings the chat templates {', '.join(own)} and no default: name "
                "one with LLMZOO_CHAT_TEMPLATE.",
                param="chat_template",
            )
        own = own["default"]
    return JinjaTemplate(cast("str", own), facts.special_tokens)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError(f"The chat template {file} cannot be read: {fault}") from fault
