"""Laws of explaining, without a house: what a prompt should find, and why it does not."""

from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.domain.limits import MAX_KNOWN_PATHS, MAX_KNOWN_TOKENS
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Prompt,
    TextPrompt,
    ToolCall,
    ToolSpec,
)
from semantic_actors.domain.usage import Miss
from semantic_actors.kv import common_prefix
from semantic_actors.sessions.misses import (
    LEAST_LOSS_TOKENS,
    TEXT_CHARS,
    Change,
    Expectation,
    expect,
    explain,
)
from semantic_actors.sessions.paths import Outline, Path, Paths, outline, path
from tests.sessions.rig import LetterCodec

CODEC = LetterCodec()
SYSTEM = ChatMessage("system", "You are a helpful agent.")
ASKED = ChatMessage("user", "What is the capital of France?")
ANSWERED = ChatMessage("assistant", "The capital of France is Paris.")
AGAIN = ChatMessage("user", "And that of Italy?")
REPLIED = ChatMessage("assistant", "The capital of Italy is Rome.")
THANKS = ChatMessage("user", "Thank you.")
TALK = (SYSTEM, ASKED, ANSWERED, AGAIN)
LATER = (*TALK, REPLIED, THANKS)
READ, WRITE = ToolSpec("read a file of the project"), ToolSpec("write a file of the project")

ids = st.lists(st.integers(0, 3), min_size=1, max_size=80)


def ended(prompt: Prompt, answer: ChatMessage, *, extra: str = "") -> Path:
    """Return the path of a turn, with an end-of-turn token as drawn."""
    rendered = CODEC.render(prompt) if isinstance(prompt, ChatPrompt) else tuple(map(ord, "x"))
    drawn = (*map(ord, answer.content + extra), 1)
    return path(array("I", rendered), outline(prompt), drawn, answer)


def expected(prompt: Prompt, *known: Path, replayed: Sequence[ChatMessage] = ()) -> Expectation:
    """Compare a prompt with paths."""
    tokens = CODEC.render(prompt) if isinstance(prompt, ChatPrompt) else tuple(map(ord, "x" * 99))
    answers = [tuple(map(ord, message.content)) for message in replayed]
    return expect(array("I", tokens), outline(prompt), known, answers, CODEC.decode)


def missed(
    prompt: ChatPrompt,
    *known: Path,
    cached: int | None = None,
    replayed: Sequence[ChatMessage] = (),
) -> Miss | None:
    """Explain a prompt of which as much was found as could be, or `cached`."""
    found = expected(prompt, *known, replayed=replayed)
    return explain(found, found.reusable if cached is None else cached)


HEAD = ended(ChatPrompt(TALK), REPLIED)
"""What the session has after two turns."""


def test_an_append_that_is_found_is_no_miss() -> None:
    """All of the last turn is there, but its last token, which nobody has read."""
    assert expected(ChatPrompt(LATER), HEAD).reusable == len(HEAD.tokens)
    assert missed(ChatPrompt(LATER), HEAD) is None


def test_a_prompt_sent_again_is_no_miss() -> None:
    """One token of it is always fed."""
    again = expected(ChatPrompt(TALK), HEAD)

    assert again.reusable == len(again.tokens) - 1
    assert explain(again, again.reusable) is None


def test_another_question_at_an_earlier_turn_is_no_miss() -> None:
    """What comes after the turn rewound to is not asked for, so it is not computed again."""
    other = ChatMessage("user", "Write me a long poem about rivers, and take your time.")

    assert missed(ChatPrompt((SYSTEM, other)), HEAD) is None
    assert missed(ChatPrompt((SYSTEM, ASKED, ANSWERED, other)), HEAD) is None
    assert missed(ChatPrompt((SYSTEM, ASKED)), HEAD) is None


def test_a_sub_agent_is_no_miss() -> None:
    """Another system prompt, other tools and another task begin a branch of their own."""
    system = ChatMessage("system", "You are a helper that searches files.")
    task = ChatMessage("user", "Find all files that mention Paris, please.")

    assert missed(ChatPrompt((system, task), (READ,)), HEAD) is None
    assert missed(ChatPrompt((SYSTEM, task), (READ,)), HEAD) is None


def test_a_title_of_the_same_question_is_no_miss() -> None:
    """A question alone makes no conversation: nothing of an answer is computed again."""
    system = ChatMessage("system", "Write a title for the conversation.")

    assert missed(ChatPrompt((system, ASKED)), HEAD) is None


def test_a_short_answer_alone_makes_no_kin() -> None:
    """All kinds of conversations have a yes in them."""
    yes = ChatMessage("assistant", "Yes.")
    one = ended(ChatPrompt((SYSTEM, ASKED)), yes)
    other = (ChatMessage("system", "Another one."), AGAIN, yes, THANKS)

    assert missed(ChatPrompt(other), one) is None


def test_what_precedes_the_conversation_is_named() -> None:
    """The system message, the tools or both."""
    system = ChatMessage("system", "You are a helpless agent.")
    for messages, tools, part in (
        ((system, *LATER[1:]), (), "system"),
        (LATER, (READ,), "tools"),
        ((system, *LATER[1:]), (READ,), "tools and system"),
        (LATER[1:], (), "system"),
    ):
        miss = missed(ChatPrompt(messages, tools), HEAD)
        assert miss is not None
        assert (miss.kind, miss.part) == ("changed", part)


def test_the_first_differing_token_and_the_text_around_it_are_shown() -> None:
    """One letter of the system message differs: all behind it would have been found."""
    system = ChatMessage("system", "You are a helpful Agent.")
    prompt = ChatPrompt((system, *LATER[1:]))
    position = 1 + SYSTEM.content.index("agent")

    miss = missed(prompt, HEAD)

    text = CODEC.decode(CODEC.render(prompt))
    assert miss == Miss(
        "changed",
        "system",
        position,
        len(HEAD.tokens) - position,
        "|You are a helpful ",
        CODEC.decode(HEAD.tokens)[position : position + TEXT_CHARS],
        text[position : position + TEXT_CHARS],
    )


def test_a_tool_in_the_middle_of_the_list_is_told_from_there() -> None:
    """The tools before it are found."""
    first = ended(ChatPrompt(TALK, (READ, WRITE)), REPLIED)
    search = ToolSpec("search")

    miss = missed(ChatPrompt(LATER, (READ, search, WRITE)), first)

    assert miss is not None
    assert (miss.part, miss.position) == ("tools", len(READ.name) + 3)
    assert (miss.text_was[:5], miss.text_now[:6]) == ("write", "search")


def test_an_earlier_message_that_changed_is_named() -> None:
    """Its history is kept behind it, and computed again; messages count from 1."""
    edited = ChatMessage("user", "What is the capital of Spain?")
    extra = ChatMessage("system", "The user has opened a file.")
    for messages, part in (
        ((SYSTEM, edited, *LATER[2:]), "message 1 (user)"),
        ((SYSTEM, ASKED, ANSWERED, extra, *LATER[3:]), "message 3 (system)"),
        ((SYSTEM, *LATER[3:]), "message 1 (user)"),
    ):
        miss = missed(ChatPrompt(messages), HEAD)
        assert miss is not None
        assert (miss.kind, miss.part) == ("changed", part)


def test_an_answer_that_comes_back_as_another_is_named() -> None:
    """Be it the last one."""
    other = ChatMessage("assistant", "It is Rome, I should think, but I am not sure.")

    miss = missed(ChatPrompt((*TALK, other, THANKS)), HEAD)

    assert miss is not None
    assert (miss.kind, miss.part) == ("changed", "answer 4")
    assert miss.position == len(CODEC.render(ChatPrompt(TALK)))


def test_an_answer_that_is_the_same_but_for_its_tokens_is_told_apart() -> None:
    """It came back word by word, and the template or a forgotten transcript renders it anew."""
    thought = ended(ChatPrompt(TALK), ChatMessage("assistant", "x" * 30 + REPLIED.content))
    known = Path(thought.tokens, HEAD.outline, thought.answers)

    miss = missed(ChatPrompt(LATER), known)

    assert miss is not None
    assert (miss.kind, miss.part) == ("changed", "answer 4 re-rendered")


def test_an_interrupted_answer_is_no_miss() -> None:
    """Of what was drawn, the client shows the most: nothing is computed again."""
    known = ended(ChatPrompt(TALK), REPLIED, extra=" Or is")

    assert missed(ChatPrompt(LATER), known) is None


def test_a_template_that_rewrites_its_own_text_is_blamed() -> None:
    """No part of the prompt has changed, but its tokens have."""
    dated = Path(array("I", [99]) + HEAD.tokens, HEAD.outline)

    miss = missed(ChatPrompt(LATER), dated)

    assert miss is not None
    assert (miss.kind, miss.part, miss.position) == ("changed", "template", 0)


def test_what_is_found_all_the_same_is_not_lost() -> None:
    """Another session of the same principal had computed it."""
    system = ChatMessage("system", "You are a helpless agent.")
    prompt = ChatPrompt((system, *LATER[1:]))
    cached = len(HEAD.tokens) - 20

    assert missed(prompt, HEAD, cached=len(HEAD.tokens)) is None
    miss = missed(prompt, HEAD, cached=cached)
    assert miss is not None
    assert miss.tokens_lost == 20


def test_an_append_whose_cache_is_gone_is_told() -> None:
    """Where what was found ends, and how much is missing; nothing differs, so there is no text."""
    miss = missed(ChatPrompt(LATER), HEAD, cached=7)

    assert miss == Miss("gone", "cache", 7, len(HEAD.tokens) - 7)


def test_the_longest_branch_counts_for_what_is_gone() -> None:
    """A sub-agent of the same kind shares the system prompt, and loses it with the cache."""
    task = ChatMessage("user", "Count all the files.")
    shared = 1 + len(SYSTEM.content) + 1 + 1

    assert missed(ChatPrompt((SYSTEM, task)), HEAD, cached=0) == Miss("gone", "cache", 0, shared)


def test_after_a_restart_the_remembered_answers_say_what_was_computed() -> None:
    """No path is known, but an answer was ours: all up to its end should be in the store."""
    prompt = ChatPrompt(LATER)
    whole = len(CODEC.render(ChatPrompt(TALK))) + len(REPLIED.content)

    assert expected(prompt, replayed=[ANSWERED, REPLIED]).reusable == whole
    assert missed(prompt, replayed=[ANSWERED, REPLIED], cached=0) == Miss("gone", "cache", 0, whole)
    assert missed(prompt, cached=0) is None


def test_an_answer_quoted_by_the_user_is_found_where_it_was_given() -> None:
    """The quotation was not computed by anybody."""
    quoting = ChatMessage("user", f"You said: {REPLIED.content} Why?")
    prompt = ChatPrompt((*TALK, REPLIED, quoting))

    whole = len(CODEC.render(ChatPrompt(TALK))) + len(REPLIED.content)
    assert expected(prompt, replayed=[REPLIED]).reusable == whole


def test_of_two_reasons_the_greater_is_told() -> None:
    """A changed system prompt is not the reason why what precedes the change is gone too."""
    system = ChatMessage("system", "You are a helpful agent!")
    prompt = ChatPrompt((system, *LATER[1:]))
    short = ChatPrompt((SYSTEM, ASKED))

    assert (missed(prompt, HEAD, cached=0) or Miss("gone", "", 0, 0)).kind == "changed"
    brief = ended(short, ANSWERED)
    late = ChatPrompt((SYSTEM, ASKED, ChatMessage("assistant", "Lyon, or was it Paris?"), AGAIN))
    assert (missed(late, brief) or Miss("gone", "", 0, 0)).kind == "changed"
    assert (missed(late, brief, cached=0) or Miss("gone", "", 0, 0)).kind == "gone"


def test_a_text_prompt_can_only_miss_what_is_gone() -> None:
    """It has no parts that could have changed."""
    other = Path(array("I", [ord("x")] * 50 + [ord("y")] * 50))

    found = expected(TextPrompt("x"), other)

    assert (found.reusable, found.change) == (50, None)
    assert explain(found, 0) == Miss("gone", "cache", 0, 50)


def test_arguments_are_no_part_of_a_message_and_calls_are_telling() -> None:
    """Clients re-serialise arguments; the id of a call is enough, and is ours."""
    calls = [ChatMessage("assistant", "", (ToolCall("c1", "ls", a),)) for a in ("{}", '{"a": 1}')]
    result = ChatMessage("tool", "", tool_call_id="c1")
    outlined = outline(ChatPrompt((calls[0], result)))

    assert outlined == outline(ChatPrompt((calls[1], result)))
    assert [message.telling for message in outlined.messages] == [True, True]


@given(ids, ids, st.integers(0, 80))
def test_nothing_is_said_of_less_than_is_worth_a_word(
    old: list[int], new: list[int], cached: int
) -> None:
    """Whatever the tokens: a miss has lost enough, and no more than the prompt has left to feed.

    If it is a change, its position is the first token that differs, and what it lost the tokens up
    to where the shorter one ends.
    """
    known = Path(array("I", old), HEAD.outline, HEAD.answers)
    tokens = array("I", new)
    cached = min(cached, len(new) - 1)

    miss = explain(expect(tokens, outline(ChatPrompt(LATER)), [known], (), str), cached)

    common = common_prefix(old, new)
    usable = min(common, len(new) - 1)
    if miss is None:
        assert min(len(old), len(new) - 1) - max(usable, cached) < LEAST_LOSS_TOKENS
        assert usable - cached < LEAST_LOSS_TOKENS
        return
    assert miss.tokens_lost >= LEAST_LOSS_TOKENS
    assert miss.tokens_lost <= len(new) - 1 - cached
    if miss.kind == "gone":
        assert (miss.position, miss.tokens_lost) == (cached, usable - cached)
    else:
        assert miss.position == common
        assert old[common] != new[common]
        assert miss.tokens_lost == min(len(old), len(new) - 1) - max(common, cached)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_the_more_is_cached_the_less_is_lost(
    reusable: int, more: int, cached: int, cached_too: int
) -> None:
    """Until nothing is missed."""
    change = Change("system", reusable, reusable + more, "", "", "")
    expected = Expectation(reusable=reusable, change=change)
    few, many = sorted((cached, cached_too))

    def lost(found: int) -> int:
        miss = explain(expected, found)
        return 0 if miss is None else miss.tokens_lost

    assert lost(many) <= lost(few)
    assert lost(reusable + more) == 0


@given(st.lists(ids, max_size=40))
def test_paths_are_few_and_none_begins_another(learnt: list[list[int]]) -> None:
    """The last one learnt is the last, or part of one that is known."""
    paths = Paths()
    for tokens in learnt:
        paths.learn(Path(array("I", tokens)))
        known = [list(one.tokens) for one in paths]
        assert any(one[: len(tokens)] == tokens for one in known)
        assert len(known) <= MAX_KNOWN_PATHS
        for one in known:
            assert sum(other[: len(one)] == one for other in known) == 1


def test_paths_are_bounded_in_tokens() -> None:
    """The oldest goes first; of a path that is too long by itself the beginning is kept."""
    paths = Paths()
    for first in range(3):
        paths.learn(Path(array("I", [first] * (MAX_KNOWN_TOKENS // 2))))
    assert [one.tokens[0] for one in paths] == [1, 2]

    paths.learn(Path(array("I", [7] * (MAX_KNOWN_TOKENS + 5))))
    assert [len(one.tokens) for one in paths] == [MAX_KNOWN_TOKENS]


def test_a_path_knows_the_answers_it_goes_on_from() -> None:
    """What was drawn in earlier turns is where it was."""
    paths = Paths()
    paths.learn(ended(ChatPrompt((SYSTEM, ASKED)), ANSWERED))
    paths.learn(HEAD)

    (only,) = paths
    assert [one.message for one in only.answers] == [1, 3]
    assert CODEC.decode(only.tokens[only.answers[0].start : only.answers[0].stop]) == (
        ANSWERED.content
    )
    assert outline(TextPrompt("x")) == Outline()
