"""The keys file: one `name: key` per line; `#` after white space begins a comment.

The name is the principal: sessions and caches are shared within it, never across.
"""

import re
import stat
from pathlib import Path

from semantic_actors.domain.errors import ConfigurationError

MIN_KEY_CHARS = 16
"""Length below which a key can be guessed."""


def read_keys(path: Path) -> dict[str, str]:
    """Return keys by principal. Raises `ConfigurationError`, also if others may read the file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the keys file {path}: {error}"
        raise ConfigurationError(message) from None
    if mode & 0o077:
        message = f"the keys file {path} has mode {mode:04o}: others may read it; chmod 600"
        raise ConfigurationError(message)
    keys: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if not entry:
            continue
        name, colon, key = (part.strip() for part in entry.partition(":"))
        if not colon or not name or len(key) < MIN_KEY_CHARS or name in keys:
            message = (
                f"{path}:{number}: write `name: key`, each name once, "
                f"keys of at least {MIN_KEY_CHARS} characters"
            )
            raise ConfigurationError(message)
        keys[name] = key
    if not keys:
        message = f"the keys file {path} holds no keys"
        raise ConfigurationError(message)
    return keys
