"""Plates and tables hold exactly what was given to them."""

import numpy as np
import pytest
from pictures import pixels_of, rows_of, shown_at

from ltaug.figures.plate import GAP, Block, Row, plate
from ltaug.figures.table import to_csv


@pytest.mark.parametrize(("channels", "side", "factor"), [(1, 8, 8), (3, 32, 2), (3, 80, 1)])
def test_every_image_stands_whole_where_the_plate_says(channels, side, factor):
    images = np.random.RandomState(0).randint(0, 256, (2, 3, channels, side, side)).astype(np.uint8)
    blocks = [Block(f"block {b}", [(0, "first")], [Row("a label", images[b], ["1", "2", "3"])]) for b in range(2)]
    drawn = plate(blocks, every=2, foot=["a foot"])
    assert drawn.factor == factor
    pixels = pixels_of(drawn.png)
    for (b, _, column), corner in drawn.places.items():
        assert (shown_at(pixels, corner, images[b, column], factor) == images[b, column]).all()
    lefts = [drawn.places[0, 0, column][0] for column in range(3)]
    assert lefts[1] - lefts[0] == side * factor + GAP < lefts[2] - lefts[1]
    assert plate(blocks, every=2, foot=["a foot"]).png == drawn.png


def test_a_long_label_is_cut_and_no_text_covers_an_image():
    image = np.full((1, 1, 8, 8), 255, np.uint8)
    drawn = plate([Block("", (), [Row("a very long class name " * 9, image, ["a caption longer than its image"])])])
    assert (shown_at(pixels_of(drawn.png), drawn.places[0, 0, 0], image[0], 8) == 255).all()
    assert drawn.places[0, 0, 0][0] < 300


def test_a_table_leaves_a_cell_empty_for_what_is_not_known_and_refuses_nan():
    content = to_csv([{"class": "a, b", "value": 1 / 3, "n": 2}, {"class": "c", "value": None, "n": 3}])
    assert rows_of(content) == [{"class": "a, b", "value": "0.333333", "n": "2"}, {"class": "c", "value": "", "n": "3"}]
    with pytest.raises(AssertionError):
        to_csv([{"value": float("nan")}])
