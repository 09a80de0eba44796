"""Rows of a cache as raw bytes, out of the engine and back into it.

Bytes leave as one contiguous array that the engine has evaluated, and are read by others without a
copy. They come in layer by layer: what makes an array of a buffer holds the interpreter meanwhile.
"""

from typing import Any, Final

import mlx.core as mx
import numpy as np

from semantic_actors.engine import caches
from semantic_actors.engine.forward import Past
from semantic_actors.kv.layout import Layout, Part, Rows

_NAMES: Final = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}
_READ_AS: Final = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def layout(past: Past) -> Layout | None:
    """Describe the rows of a filled cache; None unless all of it is keys and values of all tokens.

    A part's name begins with the number of the member it belongs to.
    """
    parts = []
    for number, member in enumerate(past.members):
        if not caches.is_plain(member):
            return None
        for name in ("keys", "values") if member.keys is not None else ():
            array = getattr(member, name)
            if array.dtype not in _NAMES:
                return None
            _, heads, _, width = array.shape
            parts.append(Part(f"{number}.{name}", _NAMES[array.dtype], heads, width))
    return Layout(tuple(parts)) if parts else None


def export(past: Past, start: int, stop: int) -> tuple[mx.array, mx.array]:
    """Copy rows into one array of bytes, and say whether all of them are numbers; lazy."""
    rows = [mx.contiguous(part) for part in past.rows(start, stop)]
    sound = mx.all(mx.stack([mx.all(mx.isfinite(part)) for part in rows]))
    return mx.concatenate([part.reshape(-1).view(mx.uint8) for part in rows]), sound


def load(past: Past, shape: Layout, rows: Rows, start: int, stop: int) -> None:
    """Append those of `rows` that are among `start..stop` of the path; nothing may read it now."""
    wanted = slice(max(start, rows.start) - rows.start, min(stop, rows.stop) - rows.start)
    count, offset = rows.stop - rows.start, 0
    taken: dict[int, list[Any]] = {}
    for part in shape.parts:
        flat = np.frombuffer(
            rows.data, _READ_AS[part.dtype], part.heads * count * part.width, offset
        )
        piece = flat.reshape(1, part.heads, count, part.width)[:, :, wanted]
        taken.setdefault(int(part.name.partition(".")[0]), []).append(piece)
        offset += part.row_bytes * count
    narrow = shape.parts[0].dtype == "BF16"
    for number, (keys, values) in taken.items():
        _append(past.members[number], keys, values, narrow=narrow)
    past.length += wanted.stop - wanted.start


def _append(member: caches.Layer, keys: Any, values: Any, *, narrow: bool) -> None:
    """Append rows: where they are if there is room in main memory, else through mlx."""
    reached = member.offset + keys.shape[2]
    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    if narrow or not on_cpu or reached > caches.room(member):
        member.update_and_fetch(_array(keys, narrow=narrow), _array(values, narrow=narrow))
        return
    for array, piece in ((member.keys, keys), (member.values, values)):
        np.asarray(array)[:, :, member.offset : reached] = piece
    member.offset = reached


def _array(rows: Any, *, narrow: bool) -> mx.array:
    array = mx.array(rows)
    return array.view(mx.bfloat16) if narrow else array
