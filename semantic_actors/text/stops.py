"""Stop strings in a text that arrives in pieces.

Knows nothing of tokens. A matcher belongs to one answer and is used by one thread.
"""


class StopMatcher:
    """Finds the first stop string to be complete, however the text is cut into pieces.

    Of stop strings that are complete at the same character the longest wins, so that nothing of
    it is shown. A stop string that begins with another one therefore never fires: the answer ends
    as soon as it can.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    @property
    def settled(self) -> bool:
        """Whether nothing is held back."""
        return not self._held

    def push(self, text: str) -> tuple[str, str | None]:
        """Return the text that is safe to show and the stop string that ended it, if one did.

        Held back is only what may still become a stop string. After a hit the matcher is spent.
        """
        text = self._held + text
        found = [(text.find(stop), stop) for stop in self._stops]
        hits = [(start + len(stop), start, stop) for start, stop in found if start >= 0]
        if hits:
            _, start, stop = min(hits)
            self._held = ""
            return text[:start], stop
        cut = len(text) - self._pending(text)
        self._held = text[cut:]
        return text[:cut], None

    def flush(self) -> str:
        """Return what was held back; it is no stop string."""
        text, self._held = self._held, ""
        return text

    def _pending(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
