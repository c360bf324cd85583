"""Output formats, one file each: the registry finds them by file name, and `predict --format` names them."""
