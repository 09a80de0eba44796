"""What a scripted model is to say, written into the words of the user.

A script travels inside a prompt as one word that no client rewrites, so the model needs no other
channel: whoever reads the prompt can tell which step of which script is due.
"""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

TITLE: Final = '{"title": "Scripted"}'
"""What is said to who asks for no more than the title of a conversation."""

AT_A_LOSS: Final = "Okay."

_WORD: Final = re.compile(r"script:([A-Za-z0-9_=-]+);")


class Message(msgspec.Struct, frozen=True):
    """A message as the model's template has written it."""

    role: str
    content: str


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer: `text`, so many `times`, then calls, each a name and its arguments.

    `{found}` in the text is replaced by what the pattern `find` matches last in the messages since
    the script: a model that was not shown it cannot say it.
    """

    text: str = ""
    times: int = 1
    find: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


class Script(msgspec.Struct, frozen=True):
    """The answers of one conversation after one prompt, in order; `label` names it in the log."""

    label: str
    steps: tuple[Step, ...]

    @property
    def word(self) -> str:
        """The script as one word of a prompt."""
        return f"script:{base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()};"


class Line(msgspec.Struct, frozen=True):
    """An answer, and of which script's which turn it is; no script is one without a label."""

    text: str
    label: str = ""
    turn: int = 0


def next_line(chat: Sequence[Message]) -> Line:
    """Say what is due after `chat`."""
    if "Tools:\n" not in chat[0].content and "title" in chat[0].content.lower():
        return Line(TITLE)
    for at in reversed(range(len(chat))):
        words = _WORD.findall(chat[at].content) if chat[at].role == "user" else []
        if words:
            script = msgspec.json.decode(base64.urlsafe_b64decode(words[-1]), type=Script)
            return _spoken(script, chat[at + 1 :])
    return Line(AT_A_LOSS)


def _spoken(script: Script, since: Sequence[Message]) -> Line:
    turn = sum(message.role == "assistant" for message in since)
    if turn >= len(script.steps):
        return Line(AT_A_LOSS, script.label, turn)
    step = script.steps[turn]
    found = [hit for message in since for hit in re.findall(step.find, message.content)]
    text = step.text.replace("{found}", found[-1] if step.find and found else "nothing")
    return Line(
        text * step.times + "".join(_call(*call) for call in step.calls), script.label, turn
    )


def _call(name: str, arguments: dict[str, Any]) -> str:
    spelled = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{spelled}</tool_call>"
