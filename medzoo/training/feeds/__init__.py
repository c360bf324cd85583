"""Feeds: how samples become batches, one file for each kind a Net may ask for (medzoo.nn.net.Feed)."""
