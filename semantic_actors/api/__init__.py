"""What is offered to the outside: two APIs over HTTP, health, metrics, and the control channel.

Only here is aiohttp.
"""

from semantic_actors.api.access import Access
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.control import ControlServer
from semantic_actors.api.control_socket import check_place
from semantic_actors.api.server import HttpServer

__all__ = ["Access", "Bounds", "ControlServer", "HttpServer", "check_place"]
