"""General formats of data sets on disk, one file each (single public data sets: public/)."""
