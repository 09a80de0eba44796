"""What an answer asks of its session, which has all the effects."""

from typing import TYPE_CHECKING, Protocol

from semantic_actors.domain.ids import SequenceId
from semantic_actors.domain.request import Generation
from semantic_actors.domain.stream import DrawnLogprob
from semantic_actors.domain.usage import Miss
from semantic_actors.scheduling import TokenLogprobs
from semantic_actors.text import OutputDecoder

if TYPE_CHECKING:
    from semantic_actors.sessions.answer import Answer


class Ports(Protocol):
    """What an answer has its session do."""

    def decoder(self, generation: Generation, *, thinking: bool, guided: bool) -> OutputDecoder:
        """Make a decoder of the model's output, which begins inside a thought or not.

        `guided`: a grammar sees to it that what begins as a call is one.
        """
        ...

    def logprobs(self, logprobs: TokenLogprobs) -> DrawnLogprob:
        """Say in bytes what the engine says in ids."""
        ...

    def submit(self, answer: "Answer") -> SequenceId:
        """Ask the scheduler to go on, as a new sequence. Raises a `Rejected`."""
        ...

    def abort(self, sequence: SequenceId) -> None:
        """Stop a sequence."""
        ...

    def missed(self, miss: Miss) -> None:
        """Tokens are computed again that had been computed before."""
        ...

    def completed(self, answer: "Answer") -> None:
        """What was said is all that was generated: the answer may be remembered."""
        ...
