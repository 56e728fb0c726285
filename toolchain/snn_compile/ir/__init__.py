"""What a network is, at every stage. Nothing here changes one."""
