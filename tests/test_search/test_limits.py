import pytest

from eavit_mm.search.limits import read_limits

LARGEST = dict(macs=4e9, params=2e7, latency=8.0)


@pytest.mark.parametrize(
    ('bounds', 'expected'),
    [
        ((None, 0.5), (None, 2e9)),
        ((0.25, None), (1e9, None)),
        (['1GMACs', '3GMACs'], (1e9, 3e9)),
        (('500MMACs', 1), (5e8, 4e9)),
        ((None, None), (None, None)),
        # No cost is below 0.
        ((0, 0.5), (None, 2e9)),
        ((0.0, None), (None, None)),
    ],
)
def test_limits_on_macs(bounds, expected):
    assert read_limits(dict(macs=bounds), LARGEST) == dict(macs=expected)


def test_limits_on_everything():
    limits = dict(
        metric=(30, 90.5),
        params=('5Mparams', 0.5),
        latency=('2ms', 0.75),
        macs=(None, '3.5GMACs'),
    )
    assert read_limits(limits, LARGEST) == dict(
        metric=(30.0, 90.5),
        params=(5e6, 1e7),
        latency=(2.0, 6.0),
        macs=(None, 3.5e9),
    )


@pytest.mark.parametrize(
    ('limits', 'words'),
    [
        ([('macs', (0, 1))], 'constraints=.*must be a dict'),
        (dict(flops=(None, 0.5)), "constraints: 'flops' is unknown; must be"),
        (dict(macs=(None, 0)), 'constraints: macs: budget=0; must be a share'),
        (dict(macs=(False, 0.5)), 'constraints: macs: budget=False; must be'),
        (dict(macs=0.5), r'constraints: macs=0.5; must be \(lowest, highest'),
        (dict(macs=(0.1, 0.2, 0.3)), r'must be \(lowest, highest\)'),
        (dict(macs='3GMACs'), "macs='3GMACs'; must be"),
        (dict(macs=(0.6, 0.5)), 'the lowest is above the highest'),
        (dict(macs=('3GMACs', 0.5)), 'the lowest is above the highest'),
        (dict(macs=(None, '5ms')), "macs: '5ms' limits latency"),
        (dict(params=('3GMACs', None)), "params: '3GMACs' limits macs"),
        (dict(macs=(None, 1.5)), 'constraints: macs: .*1.5; must be a share'),
        (dict(macs=(None, '3G')), "constraints: macs: .*'3G'; must be"),
        (dict(metric=('90', None)), "metric: '90'; must be a number"),
        (dict(metric=(float('nan'), None)), 'metric: nan; must be a number'),
        (dict(metric=(90, 80)), 'the lowest is above the highest'),
    ],
)
def test_wrong_limits(limits, words):
    with pytest.raises(ValueError, match=words):
        read_limits(limits, LARGEST)


def test_a_latency_without_a_table():
    costs = {k: v for k, v in LARGEST.items() if k != 'latency'}
    with pytest.raises(
        ValueError,
        match=r'constraints: latency: .* a table .*tools/latency.py build',
    ):
        read_limits(dict(latency=(None, '5ms')), costs)
