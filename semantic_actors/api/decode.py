"""A body into a typed request, or a refusal that names the field, its value and its bound.

msgspec checks the types and says where they do not hold. A NUL, which JSON allows and text should
not hold, is looked for in the bytes, as is how many values there are before any is built. Nothing
here builds more of a hostile document than it reads.

A step of C holds the interpreter, on whatever thread it is, so each here is kept short.
"""

import gc
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from semantic_actors.api.expectation import Step, expected_and_found
from semantic_actors.api.refusals import FieldMissing, FieldRefused, MalformedBody
from semantic_actors.domain import limits
from semantic_actors.domain.errors import InvalidRequest

T = TypeVar("T")

_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$(.*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_SURROGATE: Final = re.compile(rb"\\u[dD](?:([89abAB])|[c-fC-F])[0-9a-fA-F]{2}")
_SEARCHED_LEVELS: Final = 8
"""Levels of a document that are searched for a NUL; each may cost a look at all of it."""

_Level = dict[str, msgspec.Raw] | list[msgspec.Raw] | str
"""One level of JSON, its inner ones unread."""


def decode(body: bytes, kind: type[T], *, token_ids: int = 0) -> T:
    """Decode JSON into `kind`, of which so many values may be token ids, or raise `InvalidRequest`.

    Raises it, too, for more values than are allowed besides.
    """
    check_values(body, "", token_ids=token_ids)
    try:
        return _checked(body, kind)
    except (msgspec.ValidationError, LookupError):
        raise MalformedBody(wanted="JSON without duplicate keys") from None
    except msgspec.DecodeError as error:
        half = _half_pair(body)
        problem = str(error) if half is None else f"half a surrogate pair at byte {half}"
        raise MalformedBody(wanted="valid JSON", problem=problem) from None
    except UnicodeDecodeError:
        raise MalformedBody(wanted="valid UTF-8") from None
    except RecursionError:
        raise MalformedBody(wanted="nested less deeply") from None


def check_values(text: bytes, field: str, *, token_ids: int = 0) -> None:
    """Refuse JSON of more values than `limits.py` has room for, token ids aside."""
    containers, values = limits.MAX_JSON_CONTAINERS, limits.MAX_JSON_VALUES + token_ids
    if _few(text, containers, values):
        return
    text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if text.count(b'"') <= 4 * limits.MAX_JSON_VALUES:
        text = b"".join(text.split(b'"')[::2])
        if _few(text, containers, values):
            return
    expected = f"at most {containers} arrays and objects, and {values} values"
    raise FieldRefused(field, expected, "more")


def built(text: bytes, kind: type[T]) -> T:
    """Build JSON of ours, or that was checked, without a search for garbage among its new objects.

    There is none, and to look at all of them, again and again, takes several times as long. Two
    threads may be here at once, so nobody asks whether the search was on: it is on in the end.
    """
    gc.disable()
    try:
        return msgspec.json.decode(text, type=kind)
    finally:
        gc.enable()


def check_depth(value: Any, field: str) -> None:
    """Refuse JSON nested deeper than the templates below us can walk."""
    level = [value]
    for _ in range(limits.MAX_JSON_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return
    raise FieldRefused(field, f"at most {limits.MAX_JSON_DEPTH} levels of nesting", "more")


def _checked(body: bytes, kind: type[T]) -> T:
    """Decode JSON; where something is wrong, look again for what and where.

    The second look can find what the first did not get to or passed over: a broken end, a key
    given twice or not in UTF-8.
    """
    try:
        value = built(body, kind)
    except msgspec.ValidationError as error:
        raise _mismatch(body, kind, str(error)) from None
    if _has_nul(body):
        raise FieldRefused(_spell(_path_to_nul(body)), "text without NUL", "\\u0000")
    return value


def _few(text: bytes, containers: int, values: int) -> bool:
    """Whether the marks of JSON in `text` are so few; they count in strings, too."""
    opening = text.count(b"[") + text.count(b"{")
    return opening <= containers and text.count(b",") <= values


def _has_nul(text: bytes) -> bool:
    return rb"\u0000" in text and rb"\u0000" in text.replace(rb"\\", b"")


def _half_pair(body: bytes) -> int | None:
    """Find the first half of a surrogate pair without the other; match by match, to be brief."""
    high: re.Match[bytes] | None = None
    for half in _SURROGATE.finditer(body):
        if half[1] is None and high is not None and high.end() == half.start():
            high = None
        elif half[1] is None or high is not None:
            return (high or half).start()
        else:
            high = half
    return None if high is None else high.start()


def _mismatch(body: bytes, kind: type, text: str) -> InvalidRequest:
    """Say again what msgspec says, with the value and the whole bound.

    Its path ends for us at the first object of which only the kinds of keys and values are known:
    what is wrong there it writes as `[...]`, or as one of its keys.
    """
    place = _PLACE.search(text)
    named, free, _ = place[1].partition("[...]") if place else ("", "", "")
    path = [name or int(index) for name, index in _STEP.findall(named)]
    if missing := _MISSING.match(text):
        return FieldMissing(_spell([*path, missing[1]]))
    expected, found = expected_and_found(kind, body, path, inside=bool(free))
    return FieldRefused(_spell(path), expected, found)


def _spell(path: Sequence[Step]) -> str:
    spelled = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return spelled.removeprefix(".")


def _path_to_nul(body: bytes) -> list[Step]:
    """Find the field with the first NUL, or at least the object that it is deep inside of."""
    path: list[Step] = []
    raw = msgspec.Raw(body)
    while len(path) < _SEARCHED_LEVELS:
        value = msgspec.json.decode(raw, type=_Level)
        if isinstance(value, str):
            break
        inner: list[tuple[Step, msgspec.Raw]] = (
            [*value.items()] if isinstance(value, dict) else [*enumerate(value)]
        )
        found = next(((step, child) for step, child in inner if _has_nul(bytes(child))), None)
        if found is None:
            break
        path.append(found[0])
        raw = found[1]
    return path


def _children(value: Any) -> list[Any]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
        case _:
            return []
