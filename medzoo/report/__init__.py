"""Reports on a model: the card, pages, tables and plots."""
