"""What the scheduler lets everybody read without asking: whether a place in the queue is free.

A crowd that comes at once is refused by what stands here, each without a word to the scheduler.
The scheduler writes it after each message; what is written is true until the next.
"""

import msgspec


class Vacancies(msgspec.Struct, frozen=True):
    """How many more sequences would be queued now; who finds none may come back later."""

    places: int
    retry_after_s: int


class Board:
    """Owner: the scheduler. It says nothing before the first has started."""

    def __init__(self) -> None:
        self.vacancies: Vacancies | None = None
