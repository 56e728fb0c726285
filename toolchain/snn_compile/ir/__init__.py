"""The intermediate representation: networks at every stage, immutable."""
