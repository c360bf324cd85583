"""One file a command: the function behind both the command line and the Python call of the same name."""
