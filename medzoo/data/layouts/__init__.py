"""General formats of datasets on disk, one file each (single public datasets: public/)."""
