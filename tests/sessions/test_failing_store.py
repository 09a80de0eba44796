"""A store that fails costs caches, never an answer."""

from pathlib import Path
from typing import Any

import pytest

from semantic_actors.persistence.errors import CatalogDamaged
from semantic_actors.persistence.sqlite_catalog import SqliteCatalog
from tests.sessions.kept import keeping
from tests.sessions.rig import answer

pytestmark = pytest.mark.asyncio


async def test_a_catalog_that_breaks_while_it_is_used_fails_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions are answered whether they can be recalled or not, and the house stays well."""

    def broken(*_: Any) -> Any:
        message = "no longer what was written"
        raise CatalogDamaged(message)

    async with keeping(tmp_path) as house:
        said = await house.talk("known", "hello")
        with monkeypatch.context() as patch:
            patch.setattr(SqliteCatalog, "turns", broken)
            for number in range(2):
                text, _, _ = await house.say(f"new {number}", "hello")
                assert text == answer("hello")
            health = await house.directory.health()

        assert health.counters["running"] == 0
        text, _, _ = await house.say("known", *said, "again")
        assert text == answer(*said, "again")
