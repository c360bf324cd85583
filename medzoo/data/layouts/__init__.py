"""Data types: one file a layout, each with one public name, `ENTRY` (a medzoo.data.dataset.DataEntry)."""
