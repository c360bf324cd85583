"""Pictures with boxes, labels and classes drawn where they belong."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow

from medzoo.plots.canvas import legend, overlay, rim, shorten, text_width
from medzoo.plots.colours import PALETTE, colour_of
from medzoo.plots.overlay import PAD, draw_boxes, draw_classification, draw_mask
from medzoo.plots.sheet import GAP, in_rows, sheet
from medzoo.types import Image

GREY = Image(np.full((1, 700, 900), 60, np.uint8))


def extent(figure: np.ndarray, colour: tuple[int, int, int]) -> list[int]:
    rows, columns = np.nonzero((figure == colour).all(axis=-1))
    return [int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max())]


def test_a_box_spans_its_pixels_half_open() -> None:
    figure = np.asarray(draw_boxes(GREY, np.array([[100, 200, 300, 260.0]])))
    assert extent(figure, colour_of(0)) == [PAD + 100, PAD + 200, PAD + 299, PAD + 259]


def test_small_pictures_are_enlarged_and_boxes_with_them() -> None:
    small = Image(np.full((1, 32, 64), 60, np.uint8))
    figure = np.asarray(draw_boxes(small, np.array([[0, 0, 64, 32.0]])))
    assert extent(figure, colour_of(0)) == [PAD, PAD, PAD + 639, PAD + 319]


def test_class_colours_labels_and_reference() -> None:
    boxes = np.array([[100, 100, 200, 200], [300, 100, 400, 200.0]])
    figure = np.asarray(
        draw_boxes(
            GREY,
            boxes,
            np.array([0.9, 0.8]),
            np.array([0, 1]),
            ["a", "b"],
            truth=np.array([[500, 5, 600, 50.0]]),
        )
    )
    for colour, x in ((colour_of(0), 150), (colour_of(1), 350), ((255, 255, 255), 550)):
        assert (figure[PAD : PAD + 210, PAD + x] == colour).all(axis=-1).any()


def test_a_mask_tints_its_pixels_alone() -> None:
    mask = np.zeros(GREY.shape, np.uint8)
    mask[100:200, 300:500] = 2
    figure = np.asarray(draw_mask(GREY, mask, ["background", "one", "two"], opacity=0.5))
    picture = figure[PAD : PAD + 700, PAD : PAD + 900]
    assert (picture[mask == 0] == 60).all()
    inner = picture[150, 400].astype(int)
    np.testing.assert_allclose(inner, (60 + np.array(colour_of(1))) / 2, atol=1)
    assert tuple(picture[100, 300]) == colour_of(1)


def test_bars_are_as_long_as_their_probabilities() -> None:
    figure = np.asarray(draw_classification(GREY, "b", {"a": 0.25, "b": 0.5, "c": 0.25}))
    below = figure[PAD + 700 + PAD :]
    left = max(text_width(n) for n in "abc") + PAD + PAD
    answer = (below[:, left:] == colour_of(0)).all(axis=-1)
    other = (below[:, left:] == (150, 150, 150)).all(axis=-1)
    longest = [int(np.max(m.sum(axis=1))) for m in (answer, other)]
    assert abs(longest[0] - 2 * longest[1]) <= 25  # digits on the right count in both


def test_sixteen_bits_and_colour_are_drawn() -> None:
    deep = Image((np.arange(700 * 900).reshape(1, 700, 900) % 60000).astype(np.uint16))
    picture = np.asarray(draw_boxes(deep, np.zeros((0, 4))))
    assert picture.max() == 255
    colour = Image(np.stack([np.full((700, 900), v, np.uint8) for v in (10, 20, 30)]))
    assert tuple(np.asarray(draw_boxes(colour, np.zeros((0, 4))))[350, 450]) == (10, 20, 30)


def test_rims_and_overlays() -> None:
    region = np.zeros((9, 9), bool)
    region[2:7, 2:7] = True
    assert rim(region).sum() == 16
    assert rim(region, 2).sum() == 24
    assert not rim(np.ones((9, 9), bool)).any()
    laid = overlay(np.full((9, 9), 100, np.uint8), region.astype(np.uint8), opacity=0)
    assert tuple(laid[4, 4]) == (100, 100, 100)
    assert tuple(laid[2, 2]) == colour_of(0)


def test_text_is_cut_to_fit_and_legends_wrap() -> None:
    long = "a-very-long-name-of-a-file-that-nobody-can-read.nii.gz"
    short = shorten(long, 200)
    assert text_width(short) <= 200
    assert short.startswith("a-v")
    assert short.endswith(".gz")
    names = [(f"label {n}", PALETTE[n]) for n in range(7)]
    assert legend(names, 2000).height * 2 <= legend(names, 250).height


def test_rows_of_a_sheet_hold_tiles_of_any_width() -> None:
    wide, narrow = (Pillow.new("RGB", size, (9, 9, 9)) for size in ((90, 20), (40, 30)))
    assert sheet([[narrow, narrow], [wide]]).size == (90, 30 + GAP + 20)
    assert [len(row) for row in in_rows([wide] * 5, 3)] == [3, 2]
