"""The version, on its own, so that everything may say it. It stands nowhere else."""

__version__ = "0.1.0"
