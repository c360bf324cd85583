"""The audit of a dataset: leaks between the parts of a split, near-duplicates, and findings in single images."""
