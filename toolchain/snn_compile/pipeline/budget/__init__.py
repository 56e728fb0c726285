"""``--budget``: the weight bits of each layer within a limit of memory or energy."""
