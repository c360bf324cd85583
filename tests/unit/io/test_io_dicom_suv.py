"""SUV factors of PET: the right time of the scan, units of every kind, and what is refused rather than guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.facts import header_facts
from medzoo.io.dicom.suv import suvbw_factor
from medzoo.preprocess.host.suv import Suv
from medzoo.types import GridTransform
from tests.unit.io.test_io_dicom import save, slices

HALF, DOSE, WEIGHT = 6586.2, 370e6, 80.0


def expected(seconds: float, *, half: float = HALF) -> float:
    return 1000 * WEIGHT / (DOSE * 2 ** (-seconds / half))


def pet(**changes: Any) -> Dataset:
    """F-18 injected at 10:00, scanned from 11:00; keys of the drug are changed in its sequence."""
    d, drug = Dataset(), Dataset()
    d.Modality, d.Units, d.DecayCorrection, d.PatientWeight = "PT", "BQML", "START", WEIGHT
    d.CorrectedImage = ["DECY", "ATTN"]
    d.SeriesDate, d.SeriesTime, d.AcquisitionDate, d.AcquisitionTime = "20200101", "110000", "20200101", "110000"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = DOSE, HALF
    drug.RadiopharmaceuticalStartTime = "100000.00"
    d.RadiopharmaceuticalInformationSequence = [drug]
    for key, value in changes.items():
        setattr(drug if key.startswith("Radio") and "Sequence" not in key else d, key, value)
    return d


def ge(d: Dataset, stamp: str) -> Dataset:
    d.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", stamp)
    return d


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        (pet(), 3600),
        (pet(SeriesTime="130000"), 3600),  # a series made later of the same data
        (pet(SeriesDate="20200103", SeriesTime="090000"), 3600),
        (pet(SeriesTime="104500.5", AcquisitionTime="110000"), 2700.5),  # not after: the series' time is the scan's
        (ge(pet(SeriesTime="130000", AcquisitionTime="112000"), "20200101110500.00"), 3900),
        (ge(pet(AcquisitionTime="112000"), "20200101110500.00"), 3600),
        (pet(SeriesDate="20200102", AcquisitionDate="20200102", SeriesTime="003000", AcquisitionTime="003000",
             RadiopharmaceuticalStartTime="233000"), 3600),
        (pet(RadiopharmaceuticalStartTime="1000"), 3600),
        (pet(RadiopharmaceuticalStartDateTime="20200101093000"), 5400),
        (pet(RadiopharmaceuticalStartDateTime="20200101083000.0+0000", TimezoneOffsetFromUTC="+0100"), 5400),
        (pet(SeriesDate="", SeriesTime=""), 3600),
    ],
)  # fmt: skip
def test_the_time_of_the_scan(head: Dataset, seconds: float) -> None:
    assert suvbw_factor(head) == pytest.approx(expected(seconds), rel=1e-9)


def test_the_earliest_slice_of_the_series_counts() -> None:
    heads = [pet(SeriesTime="120000", AcquisitionTime=time) for time in ("111500", "110000", "113000")]
    for head in heads:
        assert suvbw_factor(head, heads) == pytest.approx(expected(3600))
    between = [pet(SeriesTime="111000", AcquisitionTime=time) for time in ("111500", "110000")]
    assert suvbw_factor(between[0], between) == pytest.approx(expected(3600))


def test_several_days_of_a_long_lived_drug() -> None:
    zirconium = 78.41 * 3600
    late = pet(RadionuclideHalfLife=zirconium, RadiopharmaceuticalStartDateTime="20191229110000")
    assert suvbw_factor(late) == pytest.approx(expected(3 * 86400, half=zirconium))
    with pytest.raises(ValueError, match="date of the injection is missing"):
        suvbw_factor(pet(RadionuclideHalfLife=zirconium))


def philips(element: int, value: float) -> Dataset:
    d = pet(Units="CNTS")
    d.private_block(0x7053, "Philips PET Private Group", create=True).add_new(element, "DS", str(value))
    return d


def test_units_of_every_kind() -> None:
    assert suvbw_factor(pet(Units="GML")) == 1.0
    assert suvbw_factor(pet(Units="GML", SUVType="BW")) == 1.0
    assert suvbw_factor(philips(0x00, 0.000417)) == pytest.approx(0.000417)
    assert suvbw_factor(philips(0x09, 2.5)) == pytest.approx(2.5 * expected(3600))
    assert suvbw_factor(pet(DecayCorrection="ADMIN")) == pytest.approx(expected(0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PatientWeight": None}, "weight"),
        ({"PatientWeight": 80000}, "weight is 80000 kg"),
        ({"RadionuclideTotalDose": None}, "dose"),
        ({"RadionuclideTotalDose": 370}, "meant in MBq"),
        ({"RadionuclideHalfLife": 0}, "half life"),
        ({"RadiopharmaceuticalStartTime": ""}, "time of the injection"),
        ({"RadiopharmaceuticalInformationSequence": []}, "dose"),
        (
            {"RadiopharmaceuticalStartTime": "110005"},
            "times contradict",
        ),  # five seconds after the scan, not a day before
        ({"RadiopharmaceuticalStartDateTime": "20191201100000"}, "times contradict"),
        ({"RadiopharmaceuticalStartDateTime": "20200102100000"}, "times contradict"),
        ({"SeriesTime": "", "AcquisitionTime": ""}, "time of the scan"),
        ({"DecayCorrection": "NONE"}, "NONE"),
        ({"DecayCorrection": None}, "not given"),
        ({"CorrectedImage": ["DECY"]}, "attenuation"),
        ({"CorrectedImage": "ATTN"}, "decay"),
        ({"Units": "CNTS"}, "7053"),
        ({"Units": "PROPCPS"}, "units are PROPCPS"),
        ({"Units": "GML", "SUVType": "LBM"}, "LBM"),
    ],
)
def test_what_cannot_be_known_is_named(changes: dict[str, Any], words: str) -> None:
    facts = header_facts(pet(**changes))
    assert "suvbw" not in facts
    assert words in facts["suvbw_lacks"]


def series(folder: Path, *, last: dict[str, Any]) -> Path:
    made = slices()
    for number, d in enumerate(made):
        for element in pet(**(last if number == len(made) - 1 else {}), SeriesTime="130000"):
            d[element.tag] = element
        d.AcquisitionTime = f"11{10 - 2 * number:02d}00"  # the last slice was acquired first
        del d.RescaleIntercept
    return save(folder, made)


def test_a_series_has_one_factor_or_none(tmp_path: Path) -> None:
    image = read_image(series(tmp_path / "a", last={}))
    assert image.meta["suvbw"] == pytest.approx(expected(3600))
    done, _ = Suv().apply(image, GridTransform.identity(image))
    np.testing.assert_allclose(done.array, image.array * expected(3600), rtol=1e-5)
    other = read_image(series(tmp_path / "b", last={"PatientWeight": 81}))
    with pytest.raises(UserError, match="slices differ in units, weight"):
        Suv().apply(other, GridTransform.identity(other))
