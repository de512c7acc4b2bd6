"""A sparkline is small, begins at zero and loses no peak of a short day."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from vpp_pipeline.reporting.pictures import EDGE, MOST_POINTS, SPARKLINE_HEIGHT, SPARKLINE_WIDTH, sparkline, thinned

SVG = "{http://www.w3.org/2000/svg}"


def points(values: list[float]) -> list[tuple[float, float]]:
    way = ElementTree.fromstring(sparkline(values, "t")).find(f"{SVG}g/{SVG}path").get("d")
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", way)]


def test_a_rising_line_from_zero():
    assert points([0.0, 1.0, 2.0]) == [
        (EDGE, SPARKLINE_HEIGHT - EDGE),
        (SPARKLINE_WIDTH / 2, SPARKLINE_HEIGHT / 2),
        (SPARKLINE_WIDTH - EDGE, EDGE),
    ]


def test_a_negative_value_lies_below_the_line_of_zero():
    (_, low), (_, zero), (_, high) = points([-1.0, 0.0, 1.0])
    assert low > zero > high


@pytest.mark.parametrize("values", [[5.0], [0.0], [0.0, 0.0], [-3.0, -3.0]])
def test_one_value_and_none_but_zeros_can_be_drawn(values: list[float]):
    assert all(0 <= x <= SPARKLINE_WIDTH and 0 <= y <= SPARKLINE_HEIGHT for x, y in points(values))


def test_many_values_are_means_of_neighbours_and_keep_their_sum():
    values = [float(number) for number in range(48 * 100)]
    assert len(thinned(values)) == MOST_POINTS
    assert sum(thinned(values)) * 100 == pytest.approx(sum(values))
    assert len(sparkline(values, "t" * 60)) < 1000


def test_words_cannot_break_the_picture():
    assert ElementTree.fromstring(sparkline([1.0], "a < b & 'c'")).find(f"{SVG}title").text == "a < b & 'c'"
