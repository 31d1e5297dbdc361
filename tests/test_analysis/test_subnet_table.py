"""Rows and tables of evaluated subnets, and the area under their curve."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.analysis.subnet_table import (
    area_under_curve,
    format_table,
    subnet_row,
)
from eavit_mm.space import Subnet

LARGEST = Subnet(12, (3, 3), (10, 10), 4)
SMALL = Subnet(4, (1, 0), (5, 5), 4)
POINTS = st.lists(
    st.tuples(
        st.floats(0.0625, 1, width=16), st.floats(0, 1, allow_subnormal=False)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda point: point[0],
)


class Model:
    """Costs that are easy to recognise."""

    def macs(self, subnet: Subnet | None = None) -> dict[str, int]:
        total = 4_000_000 if subnet in (None, LARGEST) else 1_000_000
        return dict(backbone=total - 1, total=total)

    def params(self, subnet: Subnet | None = None) -> dict[str, int]:
        return dict(backbone=1, total=20_000 * subnet.embed_dims)


@pytest.fixture
def rows():
    return [
        subnet_row('largest', Model(), LARGEST, {'top1': 90.0, 'top5': 99.0}),
        subnet_row('small', Model(), SMALL, {'top1': 70.0}),
    ]


def test_a_row_is_what_stands_in_json(rows):
    assert rows[1] == dict(
        name='small',
        subnet=dict(
            embed_dims=4,
            num_heads=[1, 0],
            feedforward_channels=[5, 5],
            head_dims=4,
            side='prefix',
        ),
        macs=1_000_000,
        macs_ratio=0.25,
        macs_of_parts=dict(backbone=999_999, total=1_000_000),
        params=80_000,
        metrics=dict(top1=70.0),
    )
    assert rows[0]['macs_ratio'] == 1.0
    assert json.loads(json.dumps(rows)) == rows


def test_a_table_tells_every_number(rows):
    rows[1].update(by='front', used=0.987, regret=-1.5)
    missed = dict(name='1%', budget='1%', error='budget 1%: no subnet')
    *lines, last = format_table([*rows, missed], 'Digits').splitlines()
    assert last == 'budget 1%: no subnet'
    assert 'Digits' in lines[0]
    (head,) = (line for line in lines if 'subnet' in line)
    for word in ('MMACs', '% MACs', 'Mparams', 'top1', 'by', '% budget'):
        assert word in head
    (large,) = (line for line in lines if 'largest' in line)
    (small,) = (line for line in lines if 'small' in line)
    for word in ('4.000', '100.0%', '0.24', '90.00', '99.00'):
        assert word in large
    for word in ('25.0%', '0.08', '70.00', 'nan', 'front', '98.7%', '-1.50'):
        assert word in small
    assert max(map(len, lines)) <= 100


def test_large_networks_are_told_in_gigamacs(rows):
    rows[0]['macs'] = 17_355_276_288
    text = format_table(rows)
    assert 'GMACs' in text
    assert '17.355' in text


def test_texts_are_shown_and_lists_are_not(rows):
    rows[0]['metrics'].update({'per class': [1.0, 2.0], 'rule': 'greater'})
    assert 'greater' in format_table(rows)
    assert 'per class' not in format_table(rows)


def test_of_equal_ratios_the_best_counts():
    points = [(1.0, 0.9), (0.5, 0.2), (0.5, 0.7), (0.5, 0.4)]
    assert area_under_curve(points) == pytest.approx(0.5 * 0.8)


@settings(deadline=None)
@given(points=POINTS, order=st.randoms(use_true_random=False))
def test_the_order_does_not_matter(points, order):
    shuffled = [*points]
    order.shuffle(shuffled)
    ordered = sorted(points)
    by_hand = sum(
        (b[0] - a[0]) * (a[1] + b[1]) / 2
        for a, b in zip(ordered, ordered[1:], strict=False)
    )
    assert area_under_curve(shuffled) == pytest.approx(by_hand)
