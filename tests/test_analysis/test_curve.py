"""The area under a curve, by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.analysis.curve import area_under_curve

POINTS = st.lists(
    st.tuples(
        st.floats(0.0625, 1, width=16), st.floats(0, 1, allow_subnormal=False)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda point: point[0],
)


def test_by_hand():
    # Two trapezoids: 0.25 wide of mean height 0.7, 0.5 wide of 0.85.
    found = area_under_curve([0.25, 0.5, 1.0], [0.6, 0.8, 0.9])
    assert found == pytest.approx(0.25 * 0.7 + 0.5 * 0.85)


def test_only_the_covered_range_counts():
    assert area_under_curve([0.5, 1.0], [1.0, 1.0]) == pytest.approx(0.5)
    assert area_under_curve([0.7], [1.0]) == 0.0


def test_of_equal_ratios_the_best_counts():
    found = area_under_curve([1.0, 0.5, 0.5, 0.5], [0.9, 0.2, 0.7, 0.4])
    assert found == pytest.approx(0.5 * 0.8)
    assert area_under_curve([0.5, 0.5], [0.2, 0.7]) == 0.0


@settings(deadline=None)
@given(points=POINTS, order=st.randoms(use_true_random=False))
def test_the_order_does_not_matter(points, order):
    shuffled = [*points]
    order.shuffle(shuffled)
    expected = area_under_curve(*zip(*points, strict=True))
    found = area_under_curve(*zip(*shuffled, strict=True))
    assert found == pytest.approx(expected)
    ordered = sorted(points)
    by_hand = sum(
        (b[0] - a[0]) * (a[1] + b[1]) / 2
        for a, b in zip(ordered, ordered[1:], strict=False)
    )
    assert found == pytest.approx(by_hand)


@settings(deadline=None)
@given(points=POINTS)
def test_a_better_metric_has_more_area(points):
    ratios, values = zip(*points, strict=True)
    more = [value + 0.1 for value in values]
    gained = area_under_curve(ratios, more) - area_under_curve(ratios, values)
    assert gained == pytest.approx(0.1 * (max(ratios) - min(ratios)))


@pytest.mark.parametrize(
    ('ratios', 'values', 'message'),
    [
        ([], [], '0 ratios and 0 values'),
        ([0.5], [], '1 ratios and 0 values'),
        ([0.5], [1.0, 0.9], '1 ratios and 2 values; must be equally many'),
    ],
)
def test_what_has_no_area_is_refused(ratios, values, message):
    with pytest.raises(ValueError, match=message):
        area_under_curve(ratios, values)
