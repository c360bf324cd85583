"""The audit of a data set: leaks between the parts of a split, near-duplicates, and findings in single images."""
