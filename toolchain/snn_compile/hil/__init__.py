"""Hardware in the loop: comparing what a device computed with what it should have computed."""
