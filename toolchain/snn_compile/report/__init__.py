"""What a compilation has to say: to a terminal, as JSON, as HTML."""
