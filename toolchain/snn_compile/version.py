"""The version, on its own, so that everything may say it."""

__version__ = "0.1.0"
