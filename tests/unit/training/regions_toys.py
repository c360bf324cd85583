"""Made-up pictures for the classic R-CNN, and a step that proposes fast on them."""

from __future__ import annotations

from medzoo.preprocess.host.selective_search import SelectiveSearch

STEP = SelectiveSearch(side=96, smallest=0.1, alike=0.8, count=40, size=(32, 32), context=4)
