"""Host steps: numpy preprocessing that needs headers, the same in training, Python, and a server's client."""
