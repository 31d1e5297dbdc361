"""Figures are files: whole, or not there."""

from pathlib import Path

import matplotlib.figure
import pytest
from PIL import Image

from eavit_mm.analysis.plots import plot_metric_over_macs

CURVES = {
    'ours': [(3e6, 90.0), (1e6, 70.0)],
    'theirs': [(3e6, 91.0), (1e6, 40.0), (2e6, 80.0)],
}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_is_written(tmp_path):
    path = tmp_path / 'new' / 'figure.png'
    assert plot_metric_over_macs(CURVES, path, 'accuracy', 'Title') == path
    assert files(path.parent) == ['figure.png']
    with Image.open(path) as image:
        assert image.width > 300
        # It is not one colour: something was drawn.
        assert len(image.convert('RGB').getcolors(1 << 20)) > 10


@pytest.mark.parametrize('suffix', ['.svg', '.pdf'])
def test_other_formats(tmp_path, suffix):
    path = tmp_path / f'figure{suffix}'
    plot_metric_over_macs(CURVES, str(path), 'accuracy')
    assert path.stat().st_size > 1000
    assert files(tmp_path) == [path.name]


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


def test_the_lines_are_the_points_in_their_order(tmp_path, drawn):
    plot_metric_over_macs(CURVES, tmp_path / 'a.png', 'accuracy (%)', 'T')
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == set(CURVES)
    for label, points in CURVES.items():
        x, y = lines[label].get_data()
        expected = sorted((macs / 1e6, value) for macs, value in points)
        assert list(zip(x, y, strict=True)) == expected
    assert axes.get_ylabel() == 'accuracy (%)'
    assert axes.get_title() == 'T'
    assert axes.get_xlabel() == 'MMACs per image'
    styles = {(la.get_marker(), la.get_linestyle()) for la in lines.values()}
    assert len(styles) == 2


def test_large_networks_are_told_in_gigamacs(tmp_path, drawn):
    curves = dict(a=[(17e9, 1.0), (2e9, 0.5)])
    plot_metric_over_macs(curves, tmp_path / 'a.png', 'accuracy')
    (axes,) = drawn[0].axes
    assert axes.get_xlabel() == 'GMACs per image'
    assert list(axes.get_lines()[0].get_xdata()) == [2, 17]


def test_more_curves_than_styles_are_all_drawn(tmp_path, drawn):
    curves = {str(i): [(1e6, i), (2e6, i + 1.0)] for i in range(9)}
    plot_metric_over_macs(curves, tmp_path / 'a.png', 'accuracy')
    assert len(drawn[0].axes[0].get_lines()) == 9


def test_a_failure_keeps_the_old_file_and_leaves_no_other(
    tmp_path, monkeypatch
):
    path = tmp_path / 'figure.png'
    plot_metric_over_macs(CURVES, path, 'accuracy')
    before = path.read_bytes()

    def fail(self, target, **kwargs):
        target.write(b'half')
        raise OSError('the disk is full')

    monkeypatch.setattr(matplotlib.figure.Figure, 'savefig', fail)
    with pytest.raises(OSError, match='the disk is full'):
        plot_metric_over_macs(CURVES, path, 'accuracy')
    assert path.read_bytes() == before
    assert files(tmp_path) == ['figure.png']
