"""A body into a typed request, or a refusal that names the field, its value and its bound.

msgspec checks the types and says where they do not hold. A NUL, which JSON allows and text should
not hold, is looked for in the bytes. Nothing here builds more of a hostile document than it reads.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from semantic_actors.api.expectation import Step, expected_and_found
from semantic_actors.api.refusals import FieldMissing, FieldRefused, MalformedBody
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.limits import MAX_JSON_DEPTH

T = TypeVar("T")

_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$(.*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_HALF_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_SEARCHED_LEVELS: Final = 8
"""Levels of a document that are searched for a NUL; each may cost a look at all of it."""

_Level = dict[str, msgspec.Raw] | list[msgspec.Raw] | str
"""One level of JSON, its inner ones unread."""


def decode(body: bytes, kind: type[T]) -> T:
    """Decode JSON into `kind`, or raise `InvalidRequest`."""
    try:
        return _checked(body, kind)
    except (msgspec.ValidationError, LookupError):
        raise MalformedBody(wanted="JSON without duplicate keys") from None
    except msgspec.DecodeError as error:
        half = _HALF_PAIR.search(body)
        problem = f"half a surrogate pair at byte {half.start()}" if half else str(error)
        raise MalformedBody(wanted="valid JSON", problem=problem) from None
    except UnicodeDecodeError:
        raise MalformedBody(wanted="valid UTF-8") from None
    except RecursionError:
        raise MalformedBody(wanted="nested less deeply") from None


def check_depth(value: Any, field: str) -> None:
    """Refuse JSON nested deeper than the templates below us can walk."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return
    raise FieldRefused(field, f"at most {MAX_JSON_DEPTH} levels of nesting", "more")


def _checked(body: bytes, kind: type[T]) -> T:
    """Decode JSON; where something is wrong, look again for what and where.

    The second look can find what the first did not get to or passed over: a broken end, a key
    given twice or not in UTF-8.
    """
    try:
        value = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _mismatch(body, kind, str(error)) from None
    if b"\\u0000" in body and _NUL.search(body):
        raise FieldRefused(_spell(_path_to(body, _NUL)), "text without NUL", "\\u0000")
    return value


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


def _path_to(body: bytes, pattern: re.Pattern[bytes]) -> list[Step]:
    """Find the field with the first match, or at least the object that it is deep inside of."""
    path: list[Step] = []
    raw = msgspec.Raw(body)
    while len(path) < _SEARCHED_LEVELS:
        value = msgspec.json.decode(raw, type=_Level)
        if isinstance(value, str):
            break
        inner: list[tuple[Step, msgspec.Raw]] = (
            [*value.items()] if isinstance(value, dict) else [*enumerate(value)]
        )
        found = next(((step, child) for step, child in inner if pattern.search(child)), None)
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
