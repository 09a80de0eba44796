"""Word lists of the synthetic dialogues, and running prose from Python's own documentation."""

import re
from collections import Counter
from functools import cache
from pydoc_data.topics import topics
from random import Random

from chance import happens, one_of


def listed(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


ADJECTIVES = listed(
    "access harbor door house garden secret lucky project team backup launch server office "
    "home safe master wifi gate user guest main test spare front back blue red green night "
    "day summer winter boat train flight hotel room school market client order ticket library "
    "locker phone email sister brother favorite first last old new private public local "
    "remote"
)
NOUNS = listed(
    "key code word name number color city food song animal password phrase token street "
    "address time date place book tree drink game plan sign label tag count pin port id "
    "letter team planet river bird"
)
SINGLE_KEYS = listed(
    "name password nickname birthday pin color city token address job hobby dog cat car team "
    "number codename boss"
)
NATO = listed(
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november "
    "oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
)
NUMBER_WORDS = listed(
    "zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty"
)
PLAIN_VALUES = listed(
    "red blue green yellow purple orange silver golden apple banana cherry lemon mango tiger "
    "lion eagle falcon otter panda wolf river mountain forest ocean desert island paris "
    "london berlin tokyo madrid oslo rome cairo lima delhi boston dallas pizza pasta sushi "
    "bread coffee tea milk water chess piano guitar violin"
)
FIRST_NAMES = listed(
    "Alice Bob Carol David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nina Oscar Paul "
    "Quinn Rosa Sam Tina Uma Victor Wendy Xavier Yara Zoe"
)
CITIES = listed(
    "Paris London Berlin Tokyo Madrid Oslo Rome Cairo Lima Delhi Boston Dallas Vienna Prague "
    "Lisbon Dublin Athens Seoul Sydney Toronto"
)
NAMES = FIRST_NAMES + CITIES
ONSETS = listed("b c d f g h j k l m n p r s t v w z br cr dr fl gr kl pl st tr")
SYLLABLES = [onset + vowel for onset in ONSETS for vowel in "aeiou"]
CODAS = ["", "", "n", "r", "s", "t", "l", "x", "k"]
PARAGRAPH_LENGTHS = range(61, 900)  # characters
PROSE_FROM = 12  # words; shorter filler is never prose
CAPITALS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


@cache
def documentation_words() -> list[str]:
    """The commonest lower-case words of the documentation, most frequent first."""
    counts = Counter(re.findall(r"\b[a-z]{2,10}\b", "\n".join(topics.values())))
    return [word for word, seen in counts.most_common(2600) if seen > 1]


@cache
def paragraphs() -> list[str]:
    """Paragraphs of the documentation, white space collapsed."""
    texts = (re.sub(r"\s+", " ", text).strip() for text in "\n".join(topics.values()).split("\n\n"))
    return [text for text in texts if len(text) in PARAGRAPH_LENGTHS and "<|" not in text]


def prose(rng: Random, words: int) -> str:
    """About that many words of running documentation text, cut at word ends."""
    text = rng.choice(paragraphs())
    while len(text) < words * 6:
        text += " " + rng.choice(paragraphs())
    pieces = text.split(" ")
    start = rng.randint(0, max(0, len(pieces) - words))
    return " ".join(pieces[start : start + words]) or "okay then"


def invented_word(rng: Random) -> str:
    """A word that no list holds, so that it can only be copied."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))) + rng.choice(CODAS)


def any_word(rng: Random) -> str:
    """A word from any list, or an invented one."""
    return one_of(
        rng,
        (55, lambda: rng.choice(documentation_words())),
        (12, lambda: invented_word(rng)),
        (15, lambda: rng.choice(PLAIN_VALUES)),
        (11, lambda: rng.choice(NATO + NUMBER_WORDS)),
        (7, lambda: rng.choice(NAMES)),
    )


def some_words(rng: Random, count: int) -> str:
    """That many arbitrary words."""
    return " ".join(any_word(rng) for _ in range(count))


def digits(rng: Random, length: int) -> str:
    """A string of decimal digits; it may start with a zero."""
    return "".join(rng.choice("0123456789") for _ in range(length))


def identifier(rng: Random) -> str:
    """A code such as Z3-59, QX41, agent-7 or brena-88."""
    return one_of(
        rng,
        (35, lambda: f"{rng.choice(CAPITALS)}{rng.choice('123456789')}-{digits(rng, 2)}"),
        (25, lambda: f"{rng.choice(CAPITALS)}{rng.choice(CAPITALS)}{digits(rng, 2)}"),
        (20, lambda: f"{any_word(rng)}-{digits(rng, rng.randint(1, 3))}"),
        (20, lambda: f"{invented_word(rng)}-{digits(rng, 2)}"),
    )


def call_sign(rng: Random) -> str:
    """A radio word and a number word: 'kilo seven'."""
    return f"{rng.choice(NATO)} {rng.choice(NUMBER_WORDS)}"


def plain_value(rng: Random) -> str:
    """A value of the easy kind: four digits, 'kilo seven', one word or a name."""
    return one_of(
        rng,
        (45, lambda: digits(rng, 4)),
        (30, lambda: call_sign(rng)),
        (15, lambda: rng.choice(PLAIN_VALUES)),
        (10, lambda: rng.choice(NAMES)),
    )


def hard_value(rng: Random) -> str:
    """A value of any kind: 2-8 digits, up to three arbitrary words, names, codes."""
    return one_of(
        rng,
        (36, lambda: digits(rng, rng.choice((2, 3, 4, 4, 4, 4, 5, 6, 6, 8)))),
        (17, lambda: call_sign(rng)),
        (18, lambda: any_word(rng)),
        (12, lambda: some_words(rng, 2)),
        (5, lambda: some_words(rng, 3)),
        (5, lambda: rng.choice(NAMES)),
        (7, lambda: identifier(rng)),
    )


def fact_key(rng: Random) -> str:
    """What a fact is about: 'pin', 'harbor code', "dog's name", 'garden gate key'."""
    noun = rng.choice(NOUNS)
    return one_of(
        rng,
        (11, lambda: rng.choice(SINGLE_KEYS)),
        (5, lambda: noun),
        (62, lambda: f"{rng.choice(ADJECTIVES)} {noun}"),
        (5, lambda: f"{rng.choice(SINGLE_KEYS + ADJECTIVES)}'s {noun}"),
        (5, lambda: f"{rng.choice(ADJECTIVES)} {rng.choice(ADJECTIVES)} {noun}"),
        (5, lambda: f"{rng.choice(FIRST_NAMES)}'s {rng.choice(SINGLE_KEYS)}"),
        (2, lambda: f"agent-{rng.randint(1, 99)}'s {noun}"),
        (8, lambda: f"{rng.choice(documentation_words())} {noun}"),
        (4, lambda: f"{invented_word(rng)} {noun}"),
    )


def filler(rng: Random, shortest: int, longest: int) -> str:
    """A statement without a fact: documentation prose, or a salad of words, digits and codes."""
    length = rng.randint(shortest, longest)
    if longest > PROSE_FROM and happens(rng, 0.35):
        return prose(rng, length)
    pieces = []
    for _ in range(length):
        piece = one_of(
            rng,
            (93, lambda: any_word(rng)),
            (4, lambda: digits(rng, rng.randint(1, 5))),
            (3, lambda: identifier(rng)),
        )
        pieces.append(piece + (rng.choice(".,!:?;") if happens(rng, 0.08) else ""))
    if happens(rng, 0.6):
        pieces[0] = pieces[0].capitalize()
    return " ".join(pieces) + rng.choice(["", "."])
