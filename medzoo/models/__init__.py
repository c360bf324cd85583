"""Model types: one file each, with one public name, `ENTRY`; a type imports nothing of its siblings."""
