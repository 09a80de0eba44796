"""How many tokens of an answer were thought rather than said."""

from semantic_actors.domain.stream import Finished, TextDelta, ThinkingDelta
from semantic_actors.scheduling import Generated
from tests.sessions.rig import END
from tests.sessions.test_answer import NOW, Scripted, Stage


def test_tokens_are_thought_until_the_last_thought_has_ended() -> None:
    """Those that show nothing of it, too; what is said after it is not."""
    script = Scripted((), (ThinkingDelta("h"),), (), (ThinkingDelta("m"),), (TextDelta("So"),))
    stage = Stage("generating", script=script)
    stage.answer.state(Generated(NOW, (97, 98, 99, 100, 101, END), "stop"))

    end = stage.events()[-1]
    assert isinstance(end, Finished)
    assert (end.usage.thinking_tokens, end.usage.completion_tokens) == (4, 6)


def test_an_answer_without_a_thought_has_none() -> None:
    """All of it is said."""
    stage = Stage("generating", script=Scripted((TextDelta("So"),)))
    stage.answer.state(Generated(NOW, (97, END), "stop"))

    assert stage.events()[-1].usage.thinking_tokens == 0
