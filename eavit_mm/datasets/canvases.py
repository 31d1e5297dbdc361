"""Small images pasted on textures: data for segmentation without a file."""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from copy import deepcopy
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset

from eavit_mm.datasets.samples import samples_of
from eavit_mm.options import check_count, check_mapping
from eavit_mm.registry import DATASETS

# How often a cell of a canvas has a thing in it.
_FILLED = 0.75
# A thing is at least as large as this share of its cell.
_SMALLEST = 0.6
# Brighter pixels of a thing's image, of 255, are the thing.
_EDGE = 64
_LOADED = ('LoadImageFromFile', 'LoadAnnotations')

Image = np.ndarray[Any, np.dtype[Any]]


@DATASETS.register_module()
class Canvases(BaseDataset):
    """Gray canvases with things on them, and the class of every pixel.

    A canvas has ``grid`` times ``grid`` cells, most with one thing: an image
    of another data set, at a size and place of its own, light or dark. Its
    silhouette has its class, all else is the background, class 0. Everything
    is drawn from the seed and the canvas's number, when it is first asked for,
    and kept as bytes.

    Canvases share things only if their sources do: cut the source, not the
    canvases, into parts.

    Args:
        source: Config of a data set with images (height, width) in memory,
            bright on black, such as Digits, FashionMNIST or a Split of one.
        number: Canvases to make.
        seed: Of the drawing; give every part its own.
        grid: Cells in a row and in a column.
        cell: Side of a cell in pixels.
        pipeline: Transforms of mmseg. Those that load image and annotations,
            which inferencers need, are left out: both are there.
        **kwargs: Those of mmengine's ``BaseDataset``.

    Raises:
        ValueError: If an option is not valid.

    Example:
        >>> dict(type='eavit_mm.Canvases', number=300, seed=2,
        ...      source=dict(type='eavit_mm.Digits', split='test'),
        ...      pipeline=[dict(type='LoadImageFromFile'),
        ...                dict(type='LoadAnnotations'),
        ...                dict(type='PackSegInputs')])
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        number: int,
        seed: int = 0,
        grid: int = 2,
        cell: int = 28,
        pipeline: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        check_mapping('source', source, "a data set's config")
        sizes = dict(number=number, grid=grid, cell=cell)
        for name, value in sizes.items():
            check_count(name, value, least=1)
        check_count('seed', seed)
        self.source, self.number, self.seed = source, number, seed
        self.grid, self.cell = grid, cell
        self._kept: dict[int, tuple[Image, Image]] = {}
        steps = [
            step
            for step in pipeline
            if not isinstance(step, Mapping) or step.get('type') not in _LOADED
        ]
        super().__init__(pipeline=steps, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """What is on each canvas; ids are those of the things."""
        self.things = DATASETS.build(deepcopy(self.source))
        names = self.things.metainfo['classes']
        # Neighbours in hue differ in how light they are.
        colours = [
            [
                int(255 * part)
                for part in hsv_to_rgb(i / len(names), 0.8, 1.0 - i % 2 * 0.35)
            ]
            for i in range(len(names))
        ]
        self._metainfo.setdefault('classes', ('background', *names))
        self._metainfo.setdefault('palette', [[0, 0, 0], *colours])
        ids = [str(info['sample_id']) for info in samples_of(self.things)]
        canvases = []
        for index in range(self.number):
            chosen, _ = self._draw(index)
            path = f'canvas_{index:05d}.png'  # a name: nothing lies there
            used = tuple(ids[i] for i in chosen if i >= 0)
            canvases.append(dict(img_path=path, sample_id=used, number=index))
        return canvases

    def _draw(self, index: int) -> tuple[list[int], np.random.Generator]:
        """The thing in each cell, or -1, and what draws the rest."""
        rng = np.random.default_rng([self.seed, index])
        cells = self.grid**2
        chosen = rng.integers(len(self.things), size=cells)
        chosen[rng.random(cells) >= _FILLED] = -1
        return chosen.tolist(), rng

    def prepare_data(self, idx: int) -> Any:
        """The canvas and its labels, through the pipeline."""
        info = self.get_data_info(idx)
        number = info['number']
        if number not in self._kept:
            self._kept[number] = self._paint(number)
        canvas, labels = (each.copy() for each in self._kept[number])
        info.update(img=canvas, gt_seg_map=labels)
        info.update(seg_fields=['gt_seg_map'], img_shape=canvas.shape)
        info.update(ori_shape=canvas.shape, reduce_zero_label=False)
        return self.pipeline(info)

    def _paint(self, number: int) -> tuple[Image, Image]:
        """A canvas and the class of every pixel."""
        chosen, rng = self._draw(number)
        canvas = texture(self.grid * self.cell, rng)
        labels = np.zeros(canvas.shape, np.uint8)
        for place, index in enumerate(chosen):
            if index >= 0:
                thing = self.things.get_data_info(index)
                rows, columns = (
                    slice(at * self.cell, (at + 1) * self.cell)
                    for at in divmod(place, self.grid)
                )
                area = canvas[rows, columns]
                silhouette = paste(area, thing['img'], rng)
                labels[rows, columns][silhouette] = 1 + thing['gt_label']
        return canvas.astype(np.uint8), labels


def texture(side: int, rng: np.random.Generator) -> Image:
    """A square of waves and soft noise, between 60 and 195."""
    y, x = np.mgrid[:side, :side] * (2 * np.pi / side)
    waves = np.zeros((side, side))
    for _ in range(3):
        along, across = rng.uniform(-6, 6, 2)
        phase = rng.uniform(0, 2 * np.pi)
        waves += np.sin(along * x + across * y + phase)
    noise = cv2.GaussianBlur(rng.standard_normal((side, side)), (5, 5), 0)
    middle = rng.uniform(100, 155)
    return np.clip(middle + 15 * waves + 30 * noise, 60, 195)


def paste(area: Image, image: Image, rng: np.random.Generator) -> Image:
    """Puts a thing into an area, somewhere; gives its silhouette there.

    Args:
        area: A square of a canvas; changed in place.
        image: The thing, bright on black, 0 to 255.
        rng: Draws size, place, and whether it is light or dark.
    """
    side = len(area)
    size = int(rng.integers(max(1, int(_SMALLEST * side)), side + 1))
    top, left = rng.integers(side - size + 1, size=2)
    inside = np.s_[top : top + size, left : left + size]
    thing = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    shade = 128 + thing / 2
    if rng.random() < 0.5:
        shade = 255 - shade
    cover = np.clip(thing / (2 * _EDGE), 0, 1)
    area[inside] += cover * (shade - area[inside])
    silhouette = np.zeros(area.shape, bool)
    silhouette[inside] = thing > _EDGE
    return silhouette
