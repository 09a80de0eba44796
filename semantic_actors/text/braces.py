"""Where a JSON object ends that arrives in pieces."""


class ObjectEnd:
    """Counts the braces of one object, those in strings aside.

    What is no JSON ends somewhere, or nowhere: whoever needs to know has to parse it.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def find(self, text: str) -> int | None:
        """Return where in the next piece the object ends; None if it goes on.

        Text that does not begin with a brace is no object: it ends before its first character.
        """
        for at, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = self._quoted
            elif char == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += (char == "{") - (char == "}")
            if self._depth <= 0:
                return at + (char == "}")
        return None
