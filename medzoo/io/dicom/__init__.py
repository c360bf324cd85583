"""DICOM: reading files, series, multi-frame objects and archives; writing predictions as DICOM objects.

`read` is the way in; `place` knows where slices lie, `pixels` decodes them, `headers` finds the files of a series
and `facts` what of a header steps may use. `segmentation` and `structured_report` write answers, `web` speaks
DICOMweb. DICOM's own patient axes are LPS (PS3.3 C.7.6.2); what leaves this room towards the rest is RAS.
"""

from medzoo.io.dicom.read import from_dataset, read_archive, read_dicom, read_series

__all__ = ["from_dataset", "read_archive", "read_dicom", "read_series"]
