"""A conversation: what was asked, what was answered, and what is still unanswered.

Owns the order of messages. Knows neither models nor terminals nor servers.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the user or of the assistant."""

    role: str
    content: str


@dataclass(slots=True)
class Conversation:
    """Messages in their order; a question at the end is unanswered and can be asked again."""

    system: str = ""
    messages: list[Message] = field(default_factory=list[Message])
    _replaced: Message | None = None

    @property
    def unanswered(self) -> bool:
        """Return whether the last message is a question."""
        return bool(self.messages) and self.messages[-1].role == "user"

    def ask(self, question: str) -> None:
        """Add a question; one that got no answer is dropped for it."""
        if self.unanswered:
            self.messages.pop()
        self.messages.append(Message("user", question))
        self._replaced = None

    def answer(self, text: str) -> None:
        """Add the answer to the last question."""
        self.messages.append(Message("assistant", text))
        self._replaced = None

    def fail(self) -> None:
        """Note that no answer came; an answer that was to be replaced stays."""
        if self._replaced is not None:
            self.messages.append(self._replaced)
            self._replaced = None

    def retry(self) -> bool:
        """Make the last question unanswered again; return whether there is one."""
        if self.messages and not self.unanswered:
            self._replaced = self.messages.pop()
        if self.unanswered:
            return True
        self.fail()
        return False

    def undo(self) -> bool:
        """Forget the last question and its answer; return whether there was one."""
        had = bool(self.messages)
        if had and not self.unanswered:
            self.messages.pop()
        if self.unanswered:
            self.messages.pop()
        return had

    def clear(self) -> None:
        """Forget all messages; the system message stays."""
        self.messages.clear()
        self._replaced = None

    def as_openai(self) -> list[dict[str, str]]:
        """Return the messages as OpenAI's API takes them, the system message first."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [{"role": m.role, "content": m.content} for m in self.messages]
