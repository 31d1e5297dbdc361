"""Figures are files with the points in them: whole, or not there."""

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from eavit_mm.analysis.plots import (
    plot_anatomy,
    plot_front,
    plot_hypervolume,
    plot_metric_over_macs,
    plot_segmentation,
)
from eavit_mm.space import SearchSpace
from eavit_mm.space.cells import BRANCHES
from eavit_mm.space.pareto import Member, ParetoFront

CURVES = {
    'ours': [(3e6, 90.0), (1e6, 70.0)],
    'theirs': [(3e6, 91.0), (1e6, 40.0), (2e6, 80.0)],
}
SPACE = SearchSpace([8, 16], [1, 2], [4, 8], 2, 8, max_off=4)


def members(number, unit=1e6, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        Member(
            SPACE.sample(rng),
            dict(top1=50.0 + i),
            int(unit * (i + 1)),
            int(unit * (i + 10)),
            (i - 5) ** 2 + 1.0,  # not in the order of the others
        )
        for i in range(number)
    )


def front(number, costs=('macs',), **kwargs):
    found = members(number, **kwargs)
    names = ('metric', *costs)
    return ParetoFront(SPACE, 'top1', 'greater', names, found, found, 0.5, 9)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved; to draw their pixels takes seconds."""
    figures = []
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        'savefig',
        lambda self, *args, **kwargs: figures.append(self),
    )
    return figures


def points_of(axes):
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in axes.get_lines()
    }


def test_pictures_are_written(tmp_path):
    number = 9
    folder = tmp_path / 'new'
    found = members(number)
    for name, path in dict(
        curves=plot_metric_over_macs(CURVES, folder / 'curves.png', 'top1'),
        front=plot_front(front(number), found, [], folder / 'front.png'),
        anatomy=plot_anatomy(front(number), str(folder / 'anatomy.png')),
        volume=plot_hypervolume({'a': [(1, 0.5)]}, folder / 'volume.png'),
    ).items():
        assert path == folder / f'{name}.png'
        with Image.open(path) as image:
            assert image.width > 300
            # It is not one colour: something was drawn.
            assert len(image.convert('RGB').getcolors(1 << 20)) > 10
    assert len(list(folder.iterdir())) == 4
    path = tmp_path / 'figure.pdf'
    plot_metric_over_macs(CURVES, str(path), 'accuracy')
    assert path.read_bytes().startswith(b'%PDF')


def test_the_lines_are_the_points_in_their_order(tmp_path, drawn):
    plot_metric_over_macs(CURVES, tmp_path / 'a.png', 'accuracy (%)', 'T')
    (axes,) = drawn[0].axes
    assert points_of(axes) == {
        label: sorted((macs / 1e6, value) for macs, value in points)
        for label, points in CURVES.items()
    }
    labels = axes.get_ylabel(), axes.get_title(), axes.get_xlabel()
    assert labels == ('accuracy (%)', 'T', 'MMACs per image')
    lines = axes.get_lines()
    assert len({(la.get_marker(), la.get_linestyle()) for la in lines}) == 2


COSTS = dict(
    macs=('MMACs per image', lambda i: i + 1),
    params=('million parameters', lambda i: i + 10),
    latency=('latency (ms)', lambda i: (i - 5) ** 2 + 1),
)


@pytest.mark.parametrize('costs', [['macs'], ['latency'], ['params', 'macs']])
def test_the_front_among_others(tmp_path, drawn, costs):
    """All over the costs that were searched, in their order."""
    everyone, uniform = members(9, seed=1), members(4, seed=2)
    plot_front(front(6, costs), everyone[::-1], uniform, tmp_path / 'a.png')
    for axes, cost in zip(drawn[0].axes, costs, strict=True):
        label, place = COSTS[cost]
        assert points_of(axes) == {
            name: sorted((place(i), 50 + i) for i in range(number))
            for name, number in [
                *[('evaluated', 9), ('uniform width', 4), ('front', 6)]
            ]
        }
        assert axes.get_xlabel() == label
    assert drawn[0].axes[0].get_ylabel() == 'top1'


@pytest.mark.parametrize('cost', COSTS)
def test_the_anatomy_is_in_the_order_of_its_cost(tmp_path, drawn, cost):
    found = front(7, [cost])
    plot_anatomy(found, tmp_path / 'a.png')
    in_order = sorted(found.members, key=lambda member: member.cost(cost))
    top, _, last, *_ = drawn[0].axes
    widths = [member.subnet.embed_dims for member in in_order]
    assert top.get_lines()[0].get_ydata().tolist() == widths
    label, place = COSTS[cost]
    assert last.get_xlabel() == f'members of the front, by {label}'
    ticks = [float(text.get_text()) for text in last.get_xticklabels()]
    assert ticks == sorted(ticks)
    assert set(ticks) <= {place(i) for i in range(7)}


def test_large_networks_are_told_in_gigamacs(tmp_path, drawn):
    # More curves than there are styles.
    curves = {str(i): [(17e9, 1.0), (2e9, 0.5)] for i in range(9)}
    plot_metric_over_macs(curves, tmp_path / 'a.png', 'accuracy')
    (axes,) = drawn[0].axes
    assert axes.get_xlabel() == 'GMACs per image'
    assert points_of(axes) == dict.fromkeys(curves, [(2, 0.5), (17, 1.0)])
    plot_anatomy(front(3, unit=2e9), tmp_path / 'b.png')
    labels = [axes.get_xlabel() for axes in drawn[1].axes]
    assert 'members of the front, by GMACs per image' in labels


def test_the_anatomy_are_shares_of_the_largest(tmp_path, drawn):
    found = front(12)
    plot_anatomy(found, tmp_path / 'a.png')
    images = [a.get_images()[0] for a in drawn[0].axes[1:3]]
    for image, axis in zip(images, BRANCHES, strict=True):
        widths = [getattr(member.subnet, axis) for member in found.members]
        expected = (
            np.array(widths).T / np.array([getattr(SPACE.largest, axis)]).T
        )
        expected[expected == 0] = np.nan  # white
        shares = np.ma.filled(image.get_array(), np.nan)
        np.testing.assert_array_equal(shares, expected)
    assert sum(member.subnet.num_off for member in found.members) > 0


@pytest.mark.parametrize('number', [1, 40])
def test_hypervolume_over_evaluations(tmp_path, drawn, number):
    points = [(i + 1, 0.9 - 0.5 / (i + 1)) for i in range(number)]
    path = tmp_path / 'volume.png'
    plot_hypervolume({'a': points}, path)
    (axes,) = drawn[-1].axes
    assert points_of(axes) == {'a': points}
    assert axes.get_legend() is None
    plot_hypervolume({'a': points, 'b': points[:1]}, path)
    (axes,) = drawn[-1].axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ['a', 'b']


def test_masks_beside_their_images(tmp_path, drawn):
    """A row for each image, in the colours of the classes, 255 in white."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(2, 5, 4), dtype=np.uint8)
    masks = {name: rng.integers(3, size=(2, 5, 4)) for name in ('true', 'b')}
    masks['true'][1, 0] = 255
    classes = dict(none=(0, 0, 0), cat=(255, 0, 0), dog=(0, 80, 0))
    plot_segmentation(images, masks, classes, tmp_path / 'a.png', 'Pets')
    (figure,) = drawn
    panels = np.reshape(figure.axes, (2, 3))
    shown = [[axes.get_images()[0] for axes in row] for row in panels]
    names = [axes.get_title() for axes in panels[0]]
    assert names == ['input', 'true', 'b']
    for i, (image, *found) in enumerate(shown):
        np.testing.assert_array_equal(image.get_array(), images[i])
        assert image.get_clim() == (0, 255)
        for mask, each in zip(masks.values(), found, strict=True):
            for number, colour in enumerate(classes.values()):
                there = each.get_array()[mask[i] == number]
                assert (there == colour).all()
    assert (shown[1][1].get_array()[0] == 255).all()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(classes)
    colours = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    expected = np.array(list(classes.values())) / 255
    np.testing.assert_allclose(colours, expected)
    assert figure.get_suptitle() == 'Pets'
