"""One actor per agent session, and the desk where the API asks for them."""

from semantic_actors.sessions.desk import Desk, Health, Identity, ModelCard, Surroundings
from semantic_actors.sessions.directory import Directory
from semantic_actors.sessions.turn import Turn

__all__ = ["Desk", "Directory", "Health", "Identity", "ModelCard", "Surroundings", "Turn"]
