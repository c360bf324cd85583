"""Pages about a model: the card, and what reads a manifest aloud."""
