"""One actor per agent session, and the desk where the API asks for them."""

from semantic_actors.sessions.chronicle import Chronicle
from semantic_actors.sessions.chronicler import Chronicler
from semantic_actors.sessions.desk import Desk, Health, Identity, ModelCard, Surroundings
from semantic_actors.sessions.directory import Directory
from semantic_actors.sessions.responses import Responses
from semantic_actors.sessions.turn import Turn

__all__ = [
    "Chronicle",
    "Chronicler",
    "Desk",
    "Directory",
    "Health",
    "Identity",
    "ModelCard",
    "Responses",
    "Surroundings",
    "Turn",
]
