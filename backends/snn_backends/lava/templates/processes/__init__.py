"""The custom Lava processes of this network. Lava executes every file in this folder: keep it clean."""
