"""The HTTP room: two APIs, health and metrics, in front of a desk. Only here is aiohttp."""

from semantic_actors.api.access import Access
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.server import HttpServer

__all__ = ["Access", "Bounds", "HttpServer"]
