"""Tasks, one file each: the registry finds them by file name, and a recipe by `task`."""
