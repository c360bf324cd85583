"""The place of a NIfTI volume: its affine in millimetres, and the header fields that a mask on the same grid repeats.

NIfTI-1, section "3D image orientation and location in space" (nifti1.h): the sform (method 3) is taken before the
qform (method 2), and that before the voxel size alone (method 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array

# NIfTI-1 header, xyzt_units: 1 is metre, 2 millimetre, 3 micrometre; anything else is taken as millimetre.
UNITS_IN_MM = {1: 1000.0, 3: 0.001}
UNORIENTED = (
    "the header gives no orientation (sform and qform codes are 0): "
    "taken as right to left, posterior to anterior, inferior to superior"
)
# What says where the voxels lie; nothing here can name a patient.
FIELDS = (
    "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
DISAGREEMENT = 0.01  # of the voxel size between pixdim and sform
_REPAIR = "repair the header, e.g. with nibabel's set_sform and set_qform"


@dataclass(frozen=True)
class NiftiFields:
    """The geometry fields of a NIfTI header as they are stored; `version` is 1 or 2, `axes` the number in dim[0]."""

    version: int
    axes: int
    values: Mapping[str, Any]

    @classmethod
    def of(cls, header: Any) -> NiftiFields:
        """Read the fields from a nibabel NIfTI header."""
        version = 2 if int(header["sizeof_hdr"]) == 540 else 1
        return cls(version, int(header["dim"][0]), {name: header[name].copy() for name in FIELDS})

    def write_to(self, header: Any) -> None:
        """Set the fields in a nibabel header of a volume (I, J, K) unchanged."""
        for name, value in self.values.items():
            header[name] = value
        # A plane has no third voxel edge; the volume of one slice that it is read as needs one.
        for axis in range(self.axes + 1, 4):
            if not header["pixdim"][axis] > 0:
                header["pixdim"][axis] = 1.0


def unit_mm(header: Any) -> float:
    """Millimetres in the header's unit of length."""
    return UNITS_IN_MM.get(int(header["xyzt_units"]) & 7, 1.0)


def read_geometry(header: Any, shape: tuple[int, ...], where: str) -> tuple[Array, dict[str, Any]]:
    """The affine (4, 4) in millimetres of a NIfTI header, and facts for `Image.meta`.

    `shape`: (I, J, K). The facts are the codes; "nifti", the fields that masks repeat; "assumed", where neither code is
    set; "notes", what is wrong with a matrix that was not used, and where pixdim, qform and sform disagree by more than
    1 % of the voxel size, or half a voxel of place. Raises UserError where no matrix can be used.
    """
    known = min(int(header["dim"][0]), 3)
    edges = np.asarray(header["pixdim"][1 : known + 1], float)
    if not (edges > 0).all() or not np.isfinite(edges).all():
        raise UserError(f"the voxel spacing in its header is {_spacing(edges)} mm", where, "repair the header")
    fields = NiftiFields.of(header)
    header = header.copy()
    header["pixdim"][known + 1 : 4] = 1.0
    if abs(float(header["pixdim"][0])) != 1:
        header["pixdim"][0] = 1.0  # the standard: 0 counts as 1
    unit = unit_mm(header)
    scale = np.diag([unit, unit, unit, 1.0])
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    meta: dict[str, Any] = {"format": "nifti", "sform_code": sform, "qform_code": qform, "nifti": fields}
    if not sform and not qform:
        return scale @ header.get_base_affine(), meta | {"assumed": UNORIENTED}
    notes = []
    by_qform, fault = _qform(header) if qform else (None, "")
    by_sform = np.asarray(header.get_sform(), float) if sform else None
    if by_sform is not None and (lacks := unusable(by_sform)):
        if by_qform is None:
            raise UserError(
                f"{lacks} (sform code {sform})" + (f", and {fault}" if fault else ", and the qform code is 0"),
                where,
                _REPAIR,
            )
        notes.append(f"{lacks}: the qform was used")
        by_sform = None
    elif by_sform is None and by_qform is None:
        raise UserError(f"{fault}, and the sform code is 0", where, _REPAIR)
    elif fault:
        notes.append(f"{fault}: the sform was used")
    if by_sform is not None:
        notes += _disagreements(by_sform, by_qform, header, shape, unit)
    best = by_sform if by_sform is not None else by_qform
    assert best is not None
    return scale @ best, meta | ({"notes": tuple(notes)} if notes else {})


def _qform(header: Any) -> tuple[Array | None, str]:
    """The qform's matrix, or None and the reason why it is invalid."""
    try:
        with np.errstate(all="ignore"):
            matrix = np.asarray(header.get_qform(), float)
    except Exception:  # nibabel: HeaderDataError, ValueError or LinAlgError by field
        matrix = None
    if matrix is not None and not unusable(matrix):
        return matrix, ""
    values = ", ".join(f"{float(header[f'quatern_{axis}']):.7g}" for axis in "bcd")
    if not np.isfinite([float(header[f"qoffset_{axis}"]) for axis in "xyz"]).all():
        return None, "the qform's offset in its header is not a number"
    return None, f"the qform's quaternion in its header is no rotation (b, c, d = {values})"


def unusable(matrix: Array) -> str:
    """The reason why a matrix is no valid affine; "" if it is one."""
    if not np.isfinite(matrix).all():
        return "the sform in its header holds NaN or infinite values"
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (lengths > 0).all():
        return f"the voxel spacing in the sform of its header is {_spacing(lengths)} mm"
    if abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6:
        return "the sform in its header is singular"
    return ""


def _disagreements(sform: Array, qform: Array | None, header: Any, shape: tuple[int, ...], unit: float) -> list[str]:
    """Contradictions of pixdim or the qform with the sform, which is used."""
    known = min(int(header["dim"][0]), 3)
    stored, used = np.asarray(header["pixdim"][1:4], float), np.linalg.norm(sform[:3, :3], axis=0)
    codes = f"sform (code {int(header['sform_code'])})"
    if (np.abs(used / stored - 1)[:known] > DISAGREEMENT).any():
        difference = (
            f"the header's pixdim says {_spacing(stored * unit)} mm a voxel, its {codes} {_spacing(used * unit)} mm"
        )
        return [f"{difference}: the sform was used"]
    if qform is None:
        return []
    size = [*shape, 1, 1, 1][:3]
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], [1], indexing="ij")).reshape(4, -1)
    apart = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
    if apart <= used.min() / 2:
        return []
    place = f"its qform (code {int(header['qform_code'])}) and {codes} place it up to {apart * unit:.3g} mm apart"
    return [f"{place}: the sform was used"]


def _spacing(edges: Array) -> str:
    return " x ".join(f"{float(edge):g}" for edge in edges)
