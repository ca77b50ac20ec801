"""The prompt that a family's format makes of a conversation.

Owns what is defined for every family alike: several system messages become one system text
with a blank line between them, an empty one is left out with all that belongs to it, and a
family that takes one system text before the first question gets an empty question if there is
none.
"""

from __future__ import annotations

from shared.errors import InvalidRequest
from shared.templates.family import Family
from shared.templates.messages import Message, Messages
from shared.templates.rendered import PromptBuilder, Rendered

_BETWEEN = "\n\n"


class FamilyTemplate:
    """A family as a chat template."""

    def __init__(self, family: Family) -> None:
        """Render in this family's format."""
        self.family = family
        self.name = family.name
        self.stop = family.stop
        self.writes_bos = False  # as a rule the tokenizer adds it
        self.identity = family.model_dump_json()

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> Rendered:
        """Return the prompt of a conversation, which may be empty.

        Args:
            messages: in their order.
            add_generation_prompt: end where the assistant's next answer begins.
            continue_final_message: end with the last message, the assistant's, so that the model
                goes on with it. Nothing is added to it then.

        Raises:
            InvalidRequest: a role that the family has no form for, or no assistant's message to
                be continued.
        """
        check_ending(messages, continue_final_message=continue_final_message)
        self._check_roles(messages)
        draft = _Draft(self.family)
        draft.begin(self._system(messages))
        turns = self._turns(messages)
        if self.family.system.place == "first_user" and not _has_question(turns):
            draft.system_alone()
        for turn in turns[:-1]:
            draft.turn(turn)
        for turn in turns[-1:]:
            draft.turn(turn, is_open=continue_final_message)
        if add_generation_prompt and not continue_final_message:
            draft.generation()
        elif not continue_final_message:
            draft.end()
        return draft.prompt.done()

    def _check_roles(self, messages: Messages) -> None:
        if self.family.tool is not None:
            return
        for index, message in enumerate(messages):
            if message.role == "tool":
                text = f"The chat template {self.name!r} has no form for tool messages."
                raise InvalidRequest(text, param=f"messages[{index}].role")

    def _system(self, messages: Messages) -> Message | None:
        given = [self._trimmed(message) for message in messages if message.role == "system"]
        if not given:
            return None
        return Message("system", _BETWEEN.join(each.text for each in given if each.text))

    def _turns(self, messages: Messages) -> list[Message]:
        turns: list[Message] = []
        for message in map(self._trimmed, messages):
            if message.role == "system":
                continue
            if self.family.merge and turns and turns[-1].role == message.role:
                texts = (turns.pop().text, message.text)
                turns.append(Message(message.role, _BETWEEN.join(text for text in texts if text)))
            else:
                turns.append(message)
        return turns

    def _trimmed(self, message: Message) -> Message:
        return Message(message.role, message.text.strip()) if self.family.trim else message


class _Draft:
    """A prompt in the making."""

    def __init__(self, family: Family) -> None:
        self.prompt = PromptBuilder()
        self._family = family
        self._waiting: Message | None = None
        """The system text that the first question takes in."""
        self._rounds = 0
        self._is_open = False

    def begin(self, system: Message | None) -> None:
        """Write what precedes the turns; None: the family's own system text."""
        self.prompt.write(self._family.begin)
        own = self._family.system
        if own.place == "first_user":
            self._waiting = system or Message("system", own.default)
        elif system is None and own.default:
            self.prompt.write(f"{own.prefix}{own.default}{own.suffix}")
        elif system is not None:
            self._quote_system(system)

    def system_alone(self) -> None:
        """Write the system text where there is no question that could take it in."""
        if self._waiting is not None and self._waiting.text:
            self.turn(Message("user", ""))

    def turn(self, turn: Message, *, is_open: bool = False) -> None:
        """Write a turn; an open one has nothing after its text."""
        self._rounds += turn.role == "user"
        around = {
            "user": self._family.user,
            "assistant": self._family.assistant,
            "tool": self._family.tool,
        }[turn.role]
        assert around is not None
        self.prompt.write(self._numbered(around.prefix))
        if turn.role == "user" and self._waiting is not None:
            self._quote_system(self._waiting)
            self._waiting = None
        self.prompt.quote(turn.text, turn.role)
        self._is_open = self._family.open_when_empty and not turn.text
        if not is_open and not self._is_open:
            self.prompt.write(self._numbered(around.suffix))

    def generation(self) -> None:
        """Write what an answer begins with, unless an empty one has been begun."""
        if not self._is_open:
            own = self._family.generation
            self.prompt.write(self._numbered(self._family.assistant.prefix if own is None else own))

    def end(self) -> None:
        """Write what ends a whole conversation."""
        if not self._is_open:
            self.prompt.write(self._family.end)

    def _quote_system(self, system: Message) -> None:
        if system.text:
            self.prompt.write(self._family.system.prefix)
            self.prompt.quote(system.text, "system")
            self.prompt.write(self._family.system.suffix)

    def _numbered(self, text: str) -> str:
        return text.replace("{round}", str(self._rounds))


def check_ending(messages: Messages, *, continue_final_message: bool) -> None:
    """Raise InvalidRequest if there is no assistant's message to be continued."""
    if continue_final_message and (not messages or messages[-1].role != "assistant"):
        text = "Only a last message of the assistant can be continued."
        raise InvalidRequest(text, param="continue_final_message")


def _has_question(turns: list[Message]) -> bool:
    return any(turn.role == "user" for turn in turns)
