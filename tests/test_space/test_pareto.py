import json

import numpy as np
import pytest

from eavit_mm.files import write_json
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.pareto import (
    Member,
    ParetoFront,
    best_per_bin,
    hypervolume,
    non_dominated,
    objective_values,
    standard_error,
)

SPACE = SearchSpace([8, 16], [1, 2], [4, 8], 2, 8, max_off=2)
SMALL = Subnet(8, (1, 0), (4, 4), 8)
MIDDLE = Subnet(8, (2, 1), (8, 4), 8)


def member(subnet=SMALL, top1=50.0, macs=100, params=10, latency=None):
    return Member(subnet, {'top1': top1, 'loss': 0.1}, macs, params, latency)


def front(**changes):
    members = (
        member(),
        member(MIDDLE, 70.5, 200, 20),
        member(SPACE.largest, 80.1, 400, 40),
    )
    values = dict(
        space=SPACE,
        metric='top1',
        rule='greater',
        objectives=('metric', 'macs'),
        members=members,
        references=(members[0], member(MIDDLE, 60.0, 300, 20)),
        hypervolume=0.123456789012345,
        evaluations=17,
    )
    return ParetoFront(**{**values, **changes})


def written(path, change=None, **changes):
    """A file of a front, and what a function made of its dict."""
    values = front(**changes).to_dict()
    if change is not None:
        change(values)
    write_json(values, path)
    return path


@pytest.mark.parametrize('latency', [None, 1.25])
def test_a_file_gives_back_what_was_written(tmp_path, latency):
    names = ('metric', 'macs') if latency is None else ('metric', 'latency')
    before = front(
        objectives=names,
        limits=latency and dict(latency=(None, 2.5), macs=(1.0, None)),
        members=(member(latency=latency),),
        references=(member(latency=latency),),
    )
    path = tmp_path / 'pareto.json'
    before.write(path)
    assert ParetoFront.read(path, SPACE) == before
    # As earlier versions wrote it, which knew no samples.
    values = before.to_dict()
    del values['samples']
    write_json(values, path)
    assert ParetoFront.read(path, SPACE) == before
    other = SearchSpace([8, 16], [1, 2], [4, 8], 2, 8, max_off=1)
    with pytest.raises(
        ValueError, match=f'{path}: .*of another space: .*differ; '
    ):
        ParetoFront.read(path, other)
    assert ('latency' in before.to_dict()['members'][0]) == bool(latency)


def test_a_file_has_one_member_a_line(tmp_path):
    path = tmp_path / 'pareto.json'
    front().write(path)
    assert json.loads(path.read_text()) == front().to_dict()
    lines = [
        json.loads(line.strip(' ,'))
        for line in path.read_text().splitlines()
        if line.startswith('  ')
    ]
    written = [*front().members, *front().references]
    assert lines == [member.to_dict() for member in written]
    assert ParetoFront.read(str(path), SPACE) == front()


def test_less_may_be_better(tmp_path):
    path = written(tmp_path / 'a.json', rule='less', members=(member(),))
    assert ParetoFront.read(path, SPACE).rule == 'less'
    # By the other rule all but the cheapest are dominated.
    path = written(tmp_path / 'b.json', rule='less')
    with pytest.raises(ValueError, match='none may dominate another'):
        ParetoFront.read(path, SPACE)


def put(*path, value):
    """A function that sets one value of a nested dict."""

    def change(values):
        *folders, last = path
        for key in folders:
            values = values[key]
        values[last] = value

    return change


def swapped(values):
    values['members'].reverse()


def dominated(values):
    values['members'][1]['metrics']['top1'] = 40.0


def outside(values):
    values['members'][2]['subnet']['embed_dims'] = 24


def too_many_off(values):
    values['references'][0]['subnet']['num_heads'] = [0, 0]
    values['references'][0]['subnet']['feedforward_channels'] = [0, 4]


BROKEN = [
    (swapped, 'sorted by MACs'),
    (dominated, 'none may dominate another'),
    (outside, r'members\[2\]: embed_dims=24 is outside'),
    (too_many_off, r'references\[0\]: 3 branches are off, max_off=2'),
    (put('version', value=2), 'version=2; this code reads 1'),
    (put('rule', value='more'), "rule='more'; must be one of"),
    (put('objectives', value=['flops']), r"objectives=\['flops'\]; must be"),
    (put('objectives', value=[]), r'objectives=\[\]; must be'),
    (put('objectives', value=['metric', 'latency']), 'no latency'),
    (put('metric', value='top5'), r"members\[0\]: no metric 'top5'"),
    (put('metric', value=['top1']), r"metric=\['top1'\]; must be a name"),
    (put('hypervolume', value=None), 'hypervolume=None; must be at least 0'),
    (put('evaluations', value='many'), "evaluations='many'; must be"),
    (put('samples', value=0), 'samples=0; must be'),
    (put('limits', value=3), 'limits=3; must be a dict'),
    (put('limits', value=dict(mac=[1, 2])), r'limits: mac=\[1, 2\]; must be'),
    (put('limits', value=dict(macs=[1])), r'limits: macs=\[1\]; must be \['),
    (put('limits', value=dict(macs=['a', 1])), r"limits: macs=\['a', 1\]; "),
    (put('members', value=[]), r'members=\[\]; must list at least one'),
    (put('references', value={}), 'references={}; must list at least one'),
    (put('members', 1, value=3), r'members\[1\]: member=3; must be a dict'),
    (
        put('members', 0, 'metrics', 'top1', value=float('nan')),
        r'members\[0\]: metrics: top1=nan; must be finite',
    ),
    (
        put('members', 0, 'metrics', value=[50.0]),
        r'members\[0\]: metrics=.*finite numbers',
    ),
    (put('members', 0, 'macs', value=1.5), r'members\[0\]: macs=1.5; must'),
    (put('members', 0, 'params', value=-1), r'members\[0\]: params=-1; must'),
    (
        put('members', 0, 'latency', value='1'),
        "latency='1'; must",
    ),
    (put('members', 0, 'subnet', value=[]), 'must be a dict of widths'),
    (put('objectives', value=[{}]), r'objectives=\[{}\]; must be of'),
    (put('version', value=10**400), 'version=10{79}; this code reads 1'),
    (put('version', value=True), 'version=True; this code reads 1'),
    (put('space', value=10**400), 'space=10{79}; must be a dict of choices'),
    *[
        (put(*path, value=value), f'{path[-1]}={value!r:.3}.*; must')
        for path in (
            ('hypervolume',),
            ('evaluations',),
            ('samples',),
            *(('members', 1, key) for key in ('macs', 'params', 'latency')),
            ('members', 1, 'metrics', 'loss'),
            ('members', 1, 'subnet', 'embed_dims'),
            ('references', 1, 'subnet', 'head_dims'),
        )
        for value in (10**400, float('inf'), float('nan'), True, '1')
    ],
    *[
        (
            put('members', 0, 'subnet', 'num_heads', 1, value=value),
            f'layer 1: num_heads={value!r:.3}',
        )
        for value in (10**400, float('inf'), True, -1, '1')
    ],
]


@pytest.mark.parametrize(('change', 'words'), BROKEN)
def test_what_is_wrong_is_said(tmp_path, change, words):
    path = written(tmp_path / 'pareto.json', change)
    with pytest.raises(ValueError, match=f'{path}: .*{words}') as error:
        ParetoFront.read(path, SPACE)
    assert len(str(error.value)) < 600


def test_missing_keys_are_named(tmp_path):
    for key in {*front().to_dict()} - {'samples'}:
        path = written(tmp_path / 'a.json', lambda v, key=key: v.pop(key))
        words = (
            'version=None'
            if key == 'version'
            else rf"missing keys \['{key}'\]"
        )
        with pytest.raises(ValueError, match=words):
            ParetoFront.read(path, SPACE)
    for key in ('subnet', 'metrics', 'macs', 'params'):
        path = written(
            tmp_path / 'a.json', lambda v, key=key: v['members'][1].pop(key)
        )
        words = rf"members\[1\]: .*missing keys \['{key}'\]"
        with pytest.raises(ValueError, match=words):
            ParetoFront.read(path, SPACE)


def test_the_error_of_an_accuracy_is_binomial():
    """As often as right answers are drawn, their share is so far off."""
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9):
        drawn = 100 * rng.binomial(400, share, 20_000) / 400
        error = standard_error('accuracy/top1', 100 * share, 400)
        assert error == pytest.approx(drawn.std(), rel=0.03)
    # All right is no proof: a few more samples may be wrong.
    assert 0.5 < standard_error('accuracy/top1', 100.0, 150) < 1.0
    assert standard_error('accuracy/top1', 90.0, None) == 0
    assert standard_error('mIoU', 90.0, 400) == 0


def test_objective_values_are_to_be_made_less():
    one = member(top1=50.0, macs=100, params=10, latency=3.0)
    names = ('params', 'metric', 'latency', 'macs')
    found = objective_values(one, names, 'top1', 'greater')
    assert found == [10, -50.0, 3.0, 100]
    assert objective_values(one, ('metric',), 'loss', 'less') == [0.1]


def slow_non_dominated(points):
    """Indices that no other point dominates; of equals the first."""
    keep = []
    for i, p in enumerate(points):
        beaten = any(
            all(a <= b for a, b in zip(q, p, strict=True))
            and (tuple(q) != tuple(p) or j < i)
            for j, q in enumerate(points)
        )
        keep += [] if beaten else [i]
    return keep


@pytest.mark.parametrize('dims', [2, 3])
def test_non_dominated_is_what_its_definition_says(dims):
    assert non_dominated([]) == []
    rng = np.random.default_rng(dims)
    # A coarse grid: ties in one objective, and equal points.
    points = rng.integers(0, 6, size=(30, dims)).tolist()
    assert non_dominated(points) == slow_non_dominated(points)
    points = rng.random((30, dims)).tolist()
    assert non_dominated(points) == slow_non_dominated(points)


@pytest.mark.parametrize('dims', [2, 3])
def test_hypervolume_never_falls(dims):
    rng = np.random.default_rng(dims)
    points = rng.random((60, dims)).tolist()
    volumes = [hypervolume(points[:n], [1.0] * dims) for n in range(61)]
    assert volumes[0] == 0
    assert (np.diff(volumes) >= -1e-12).all()
    assert 0 < volumes[1] < volumes[-1] < 1


def test_hypervolume_of_a_box():
    assert hypervolume([[0.5, -1.0, 0.0]], [1.0, 1.0, 1.0]) == 1.0
    assert hypervolume([[2.0, 0.0]], [1.0, 1.0]) == 0.0
    # Two steps of a staircase, and a point below it.
    steps = [[0.0, 0.5], [0.5, 0.0], [0.6, 0.6]]
    assert hypervolume(steps, [1.0, 1.0]) == 0.75


@pytest.mark.parametrize('seed', range(3))
def test_best_per_bin(seed):
    rng = np.random.default_rng(seed)
    everyone = [
        member(top1=float(rng.integers(0, 20)), macs=int(rng.integers(0, 999)))
        for _ in range(40)
    ]
    low, high, bins = 100, 900, 8  # costs lie beyond both ends, too

    def quality(m):
        return m.metrics['top1']

    found = best_per_bin(everyone, quality, low, high, bins)
    macs = [m.macs for m in found]
    assert macs == sorted(macs)
    places = {}
    for m in everyone:
        place = min(max(m.macs - low, 0) // 100, bins - 1)
        places.setdefault(place, []).append(m)
    assert len(found) == len(places)
    for m, place in zip(found, sorted(places), strict=True):
        assert m in places[place]
        assert quality(m) == max(map(quality, places[place]))
