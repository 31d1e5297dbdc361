"""What EA-ViT's routers choose, data set beside data set, as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from benchmarks.real import EA_VIT
from eavit_mm.analysis.plots import STYLES, save_figure
from eavit_mm.space.cells import BRANCHES

SHOWN = '0.5'  # the budget whose widths are shown layer by layer


def near(chosen: Sequence[Mapping[str, Any]]) -> Any:
    """Networks in a plane, near ones near each other (as in the paper)."""
    blocks = [
        np.array([np.atleast_1d(subnet[axis]) for subnet in chosen])
        for axis in (*BRANCHES, 'embed_dims')
    ]
    points = np.hstack([block / block.max() for block in blocks])
    perplexity = min(10, len(points) // 3)
    method = TSNE(perplexity=perplexity, init='pca', random_state=0)
    return method.fit_transform(points)


def draw_chosen(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draws the answers of all sets and seeds; False if there are none."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record['method'] == EA_VIT and record.get('chosen'):
            found.setdefault(record['regime'], []).append(record['chosen'])
    if not found:
        return False
    figure = Figure(figsize=(13, 5), layout='constrained')
    *panels, plane = figure.subplots(1, 1 + len(BRANCHES))
    everything = [
        s for runs in found.values() for r in runs for s in r.values()
    ]
    places = iter(near(everything))
    for (name, runs), style in zip(found.items(), STYLES, strict=False):
        for axes, axis in zip(panels, BRANCHES, strict=True):
            widths = np.array([run[SHOWN][axis] for run in runs], dtype=float)
            layers = np.arange(1, widths.shape[1] + 1)
            axes.plot(layers, widths.mean(axis=0), **style)
        points = [next(places) for run in runs for _ in run]
        shape = dict(style, linestyle='')
        dims = sorted({run[SHOWN]['embed_dims'] for run in runs})
        label = f'{name}, embed_dims {"/".join(map(str, dims))}'
        plane.plot(*np.transpose(points), label=label, **shape)
    for axes, axis in zip(panels, BRANCHES, strict=True):
        axes.set_title(f'at {float(SHOWN):.0%} of the MACs')
        axes.set(xlabel='layer', ylabel=axis)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    plane.set_title('all budgets, t-SNE of the widths')
    plane.set_xticks([])
    plane.set_yticks([])
    handles = plane.get_legend_handles_labels()
    figure.legend(*handles, loc='outside lower center', ncols=3)
    save_figure(figure, path)
    return True
