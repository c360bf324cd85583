"""A folder to a recipe: the layout recognised, its fingerprint, and a choice for each field with its reason."""
