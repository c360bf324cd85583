"""Messages of pydicom and highdicom without the header values that they quote."""

from __future__ import annotations

import logging
import re
import warnings

# What they warn of, they quote too, and it may be a patient's name or number.
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\.")
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def said(error: BaseException) -> str:
    """The message of an error with all quotations removed but attribute names and value representations; others may
    hold a name, a number or a date of the patient."""
    return _QUOTED.sub(_known, str(error))


def _known(quoted: re.Match[str]) -> str:
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.datadict import tag_for_keyword

    word = quoted[0][1:-1]
    known = re.fullmatch("[A-Z]{2}", word) or (word.isidentifier() and tag_for_keyword(word) is not None)
    return quoted[0] if known else "'...'"
