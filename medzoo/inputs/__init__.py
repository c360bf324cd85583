"""Kinds of training input: declaration, loading, golden inputs, probes and test examples of each in one place."""
