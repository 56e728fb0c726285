"""The devices that come with the tool, one file each; entry points name them."""
