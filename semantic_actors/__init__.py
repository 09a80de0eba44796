"""A daemon that gives every agent session a mind that lasts."""

__version__ = "0.1.0"
