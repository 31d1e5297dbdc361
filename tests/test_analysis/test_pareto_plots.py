"""Figures of a search are files with the points in them."""

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from eavit_mm.analysis.pareto_plots import (
    plot_anatomy,
    plot_front,
    plot_hypervolume,
)
from eavit_mm.space import SearchSpace
from eavit_mm.space.pareto import Member, ParetoFront

SPACE = SearchSpace([8, 16], [1, 2], [4, 8], 2, 8, max_off=4)


def members(number, unit=1e6, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        Member(
            SPACE.sample(rng), dict(top1=50.0 + i), int(unit * (i + 1)), 10 + i
        )
        for i in range(number)
    )


def front(number, **kwargs):
    found = members(number, **kwargs)
    return ParetoFront(
        SPACE, 'top1', 'greater', ('metric', 'macs'), found, found, 0.5, 9
    )


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def watched(self, *args, **kwargs):
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, 'savefig', watched)
    return figures


def is_drawn(path):
    with Image.open(path) as image:
        assert image.width > 300
        return len(image.convert('RGB').getcolors(1 << 20)) > 10


@pytest.mark.parametrize('number', [1, 2, 30])
def test_pictures_are_written(tmp_path, number):
    path = tmp_path / 'new' / 'pareto.png'
    assert plot_front(front(number), members(number), [], path) == path
    assert is_drawn(path)
    other = tmp_path / 'new' / 'anatomy.png'
    assert plot_anatomy(front(number), str(other)) == other
    assert is_drawn(other)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        *('anatomy.png', 'pareto.png')
    ]


@pytest.mark.parametrize('suffix', ['.svg', '.pdf'])
def test_other_formats(tmp_path, suffix):
    path = tmp_path / f'figure{suffix}'
    plot_front(front(3), members(5), members(2), path)
    assert path.stat().st_size > 1000
    plot_anatomy(front(3), path)
    assert path.stat().st_size > 1000


def test_the_lines_are_the_points(tmp_path, drawn):
    everyone, uniform = members(9, seed=1), members(4, seed=2)
    plot_front(front(6), everyone[::-1], uniform, tmp_path / 'a.png')
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == {'evaluated', 'uniform width', 'front'}
    for label, number in [('evaluated', 9), ('uniform width', 4)]:
        x, y = lines[label].get_data()
        assert list(x) == [i + 1 for i in range(number)]
        assert list(y) == [50 + i for i in range(number)]
    assert len(lines['front'].get_xdata()) == 6
    assert axes.get_xlabel() == 'MMACs per image'
    assert axes.get_ylabel() == 'top1'


def test_large_networks_are_told_in_gigamacs(tmp_path, drawn):
    plot_front(front(3, unit=2e9), members(3, 2e9), [], tmp_path / 'a.png')
    (axes,) = drawn[0].axes
    assert axes.get_xlabel() == 'GMACs per image'
    plot_anatomy(front(3, unit=2e9), tmp_path / 'b.png')
    labels = [axes.get_xlabel() for axes in drawn[1].axes]
    assert 'members of the front (GMACs per image)' in labels


def test_the_anatomy_are_shares_of_the_largest(tmp_path, drawn):
    found = front(12)
    plot_anatomy(found, tmp_path / 'a.png')
    images = [a.get_images()[0] for a in drawn[0].axes[1:3]]
    for image, axis in zip(
        images, ('num_heads', 'feedforward_channels'), strict=True
    ):
        shares = image.get_array()
        assert shares.shape == (2, 12)
        for column, member in enumerate(found.members):
            for layer, width in enumerate(getattr(member.subnet, axis)):
                value = shares[layer, column]
                if width:
                    largest = getattr(SPACE.largest, axis)[layer]
                    assert value == width / largest
                else:
                    # White.
                    assert np.ma.is_masked(value) or np.isnan(value)
    off = sum(member.subnet.num_off for member in found.members)
    assert off > 0


@pytest.mark.parametrize('number', [1, 40])
def test_hypervolume_over_evaluations(tmp_path, drawn, number):
    points = [(i + 1, 0.9 - 0.5 / (i + 1)) for i in range(number)]
    path = tmp_path / 'volume.png'
    one = plot_hypervolume({'a': points}, path)
    assert one == path
    assert is_drawn(path)
    (axes,) = drawn[-1].axes
    (line,) = axes.lines
    assert list(zip(*line.get_data(), strict=True)) == points
    assert axes.get_legend() is None
    plot_hypervolume({'a': points, 'b': points[:1]}, path)
    (axes,) = drawn[-1].axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ['a', 'b']
