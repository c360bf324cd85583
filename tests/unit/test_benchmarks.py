"""The page of the benchmarks says what their results say."""

from __future__ import annotations

from benchmarks.table import PAGE, page, read


def test_the_page_is_written_from_the_results() -> None:
    assert PAGE.read_text() == page(read()), "python -m benchmarks.table writes it again"


def test_a_result_that_changes_changes_its_line() -> None:
    results = read()
    results["dicom_series"]["times_as_fast_as_simpleitk"] = 7.89
    assert "SimpleITK's seconds over ours | 7.89 | at least 1 |" in page(results)
