"""A local page over a folder: compiled networks, sweeps, traces, and what is running.

It shows what the commands say, and runs them, with limits, where something has to be computed. Only
this machine reaches it, with the token of its address (``guard.py``).
"""
