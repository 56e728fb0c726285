"""Built-in devices, one file each; entry points name them."""
