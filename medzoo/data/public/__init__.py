"""Single public datasets, each in the layout that it is published in, one file each (general formats: layouts/)."""
