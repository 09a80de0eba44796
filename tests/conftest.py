"""What every test may count on."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Leave logging as it was: the daemon configures it for the whole process."""
    yield
    structlog.reset_defaults()
