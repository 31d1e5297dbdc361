"""Rows and tables of evaluated subnets."""

import json

import pytest

from eavit_mm.analysis.curve import area_under_curve
from eavit_mm.analysis.subnet_table import (
    curve_area,
    format_table,
    subnet_row,
)
from eavit_mm.space import Subnet

LARGEST = Subnet(12, (3, 3), (10, 10), 4)
SMALL = Subnet(4, (1, 0), (5, 5), 4)


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
        params=80_000,
        metrics=dict(top1=70.0),
    )
    assert rows[0]['macs_ratio'] == 1.0
    assert json.loads(json.dumps(rows)) == rows


def test_the_area_of_rows(rows):
    found = curve_area(rows, 'top1', 0.01)
    assert found == area_under_curve([1.0, 0.25], [0.9, 0.7])
    assert found == pytest.approx(0.75 * 0.8)


def test_a_table_tells_every_number(rows):
    text = format_table(rows, 'Digits')
    lines = text.splitlines()
    assert 'Digits' in lines[0]
    (head,) = (line for line in lines if 'subnet' in line)
    for word in ('MACs', '% MACs', 'Mparams', 'top1', 'top5'):
        assert word in head
    (large,) = (line for line in lines if 'largest' in line)
    (small,) = (line for line in lines if 'small' in line)
    for word in ('100.0%', '0.24', '90.00', '99.00'):
        assert word in large
    for word in ('25.0%', '0.08', '70.00', 'nan'):
        assert word in small
    # Both columns of widths tell the two networks apart.
    assert 'MMACs' in head
    assert '4' in large
    assert max(map(len, lines)) <= 100


def test_large_networks_are_told_in_gigamacs(rows):
    rows[0]['macs'] = 17_355_276_288
    text = format_table(rows)
    assert 'GMACs' in text
    assert '17.355' in text


def test_values_that_are_no_numbers_are_shown(rows):
    rows[0]['metrics']['per class'] = [1.0, 2.0]
    assert '[1.0, 2.0]' in format_table(rows)
