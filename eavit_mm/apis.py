"""What a notebook calls: load a supernet, ask for budgets, predict."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.image import imread
from mmengine.config import Config
from mmpretrain import FeatureExtractor, ImageClassificationInferencer
from mmpretrain.apis.model import ModelHub
from mmseg.apis import MMSegInferencer
from mmseg.models.segmentors import BaseSegmentor

from eavit_mm.analysis.latency import device_of
from eavit_mm.analysis.subnet_table import format_table, subnet_row
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import build_supernet, read_config
from eavit_mm.engine.loops.subnet_loops import answer_to
from eavit_mm.export.config import dataset_meta
from eavit_mm.files import project_folder
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import UnreachableError
from eavit_mm.options import check_count
from eavit_mm.space import Budget

__all__ = ['SegmentationInferencer', 'ask', 'load', 'predict', 'table']
# How far floats may lie beyond 0 and 1: a cubic resize of cv2 overshoots an
# edge by up to 0.11, and a corner, which it passes twice, by 0.23.
_OVERSHOOT = 0.25
# mmpretrain's list_models and get_model know our configs from here on.
_folder = project_folder()
if _folder and not ModelHub.has('eavit_vitb_flowers'):
    _index = _folder / 'model-index.yml'
    ModelHub.register_model_index(_index, config_prefix=_folder)


class SegmentationInferencer(MMSegInferencer):
    """mmseg's inferencer of a model that is there; see :func:`load`."""

    def __init__(
        self, model: Any, cfg: Config, device: torch.device, meta: Any
    ) -> None:
        self._given, model.dataset_meta = model, meta
        cfg.setdefault('visualizer', dict(type='SegLocalVisualizer'))
        super().__init__(cfg, device=str(device), **meta)

    def _init_model(self, cfg: Any, weights: Any, device: str) -> Any:
        """In place of a new one, which would be loaded less strictly."""
        return self._given.to(device).eval()

    def preprocess(
        self, inputs: Iterable[Any], batch_size: int = 1
    ) -> Iterator[Any]:
        """Batches of images of one size: mmseg takes no others."""
        samples = map(self.pipeline, inputs)
        for _, alike in groupby(samples, lambda s: s['inputs'].shape):
            chunks = self._get_chunk_data(alike, batch_size)
            yield from map(self.collate_fn, chunks)

    def predictions(
        self, images: Iterable[Any], batch_size: int
    ) -> list[dict[str, Any]]:
        """What :func:`predict` returns; logits are kept of a batch alone."""
        return [
            _pixels_of(sample) | self.model.dataset_meta
            for batch in self.preprocess(images, batch_size)
            for sample in self.forward(batch)
        ]


def _pixels_of(sample: Any) -> dict[str, Any]:
    """The class of each pixel, and the probability of it."""
    labels, logits = sample.pred_sem_seg.data[0], sample.seg_logits.data
    scores = logits.softmax(0).amax(0)
    if len(logits) == 1:  # mmseg has made probabilities of them already
        scores = torch.where(labels > 0, logits[0], 1 - logits[0])
    return dict(
        pred_sem_seg=labels.long().cpu().numpy(),
        pred_score=scores.float().cpu().numpy(),
    )


def load(
    config: str | Path,
    checkpoint: str | Path,
    device: str | torch.device | None = None,
) -> ImageClassificationInferencer | FeatureExtractor | SegmentationInferencer:
    """Loads a supernet into the inferencer of its toolbox.

    Unlike the stock way no code in the checkpoint is run, and it must fit
    the config to the last weight.

    Args:
        config: File of stage 2, or of stage 1.
        checkpoint: File of the same stage; that of stage 2 brings router and
            front.
        device: None for a GPU if there is one, else the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the config has no supernet, or the checkpoint does not
            fit it.

    Example:
        >>> network = load('work_dirs/demo/adapt/stage2.py',
        ...                'work_dirs/demo/adapt/stage2/epoch_20.pth')
    """
    cfg = read_config(str(config))
    model: Any = build_supernet(cfg, 'load')
    meta = load_supernet(model, checkpoint)
    model.norm_statistics = {}
    place = device_of(device)
    if isinstance(model, BaseSegmentor):
        known = dataset_meta(cfg, meta)
        return SegmentationInferencer(model, cfg, place, known)
    # Where mmpretrain's own functions keep it.
    model._dataset_meta = meta.get('dataset_meta') or {}
    has_head = model.logits_module is not None
    kind = ImageClassificationInferencer if has_head else FeatureExtractor
    return kind(model, device=place)


def ask(
    network: Any,
    *budgets: str | float,
    by: str | None = None,
    part: str | None = None,
    latency_table: str | Path | None = None,
    front: str | Path | None = None,
) -> list[dict[str, Any]]:
    """The subnet for each budget, and what it costs.

    Args:
        network: What :func:`load` returned.
        *budgets: Each on its own: 0.5, '50%', '8GMACs', '20Mparams', '5ms'.
        by: Who answers; see :class:`eavit_mm.models.BudgetSolver`.
        part: What of the network budgets limit: 'total', 'backbone', ...
            Default: the part that the router learnt, else 'total'.
        latency_table: File of a table, for milliseconds.
        front: File of a Pareto front, to answer.

    Returns:
        A row for each: ``subnet``, ``macs``, ``macs_ratio``,
        ``macs_of_parts`` (backbone, neck, head), ``params``, ``budget``,
        ``by``, ``part``, ``limit``, ``delivered``, ``used``, and ``metrics``:
        those measured on the held-out data after training, where they are
        known. A budget that cannot be reached has ``budget`` and ``error``.
        :func:`table` makes text of the rows.

    Raises:
        ValueError: If a budget is none, or none can be reached.
    """
    if not budgets:
        raise ValueError("no budget is given; must be such as 0.5, '8GMACs'")
    model = network.model
    solver = BudgetSolver(model, part=part, table=latency_table, front=front)
    rows: list[dict[str, Any]] = []
    for budget in map(Budget.parse, budgets):
        try:
            subnet, columns = answer_to(budget, solver, by)
        except UnreachableError as error:
            text = budget.text
            rows.append(dict(name=text, budget=text, error=str(error)))
            continue
        known = solver.metrics_of(subnet)
        rows.append(subnet_row(budget.text, model, subnet, known) | columns)
    if all('error' in row for row in rows):
        raise UnreachableError(rows[0]['error'])
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`ask` as text."""
    return format_table(rows)


def predict(
    network: Any,
    images: Any,
    *budgets: str | float,
    batch_size: int | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Classifies images, or their pixels, with the subnet for a budget.

    The subnet is chosen for this call alone.

    Args:
        network: What :func:`load` returned.
        images: One or several: paths, or arrays (height, width, channels),
            colours in the order blue, green, red. The type says the range:
            uint8 is 0 to 255, uint16 is 0 to 65535, floats are 0 to 1. Up to
            a quarter beyond 0 and 1, as far as a cubic resize goes, floats
            are clipped. No other type or range is valid.
        *budgets: Limits that all hold at once; none for the active subnet,
            which is the largest unless ``network.model.set_budget`` chose
            another.
        batch_size: Images at once; None for 32 of a classifier, 1 of a
            segmentor.
        **options: ``by``, ``part``, ``latency_table`` and ``front``, as in
            :func:`ask`.

    Returns:
        For each image ``pred_label``, ``pred_score``, ``pred_scores``, and
        ``pred_class`` where the checkpoint knows the names. Of a segmentor
        ``pred_sem_seg``, the class of every pixel, and ``pred_score``, the
        probability of it, both (height, width) of the image that was given,
        and where they are known ``classes`` and ``palette``. Of a classifier
        without a head ``embedding`` (E).

    Raises:
        FileNotFoundError: If there is no such image.
        ValueError: If the budgets cannot be reached, an image is broken or
            of another range, or ``batch_size`` is no positive integer.
    """
    segment: Any = getattr(network, 'predictions', None)
    if batch_size is None:
        batch_size = 1 if segment else 32
    check_count('batch_size', batch_size, least=1)
    model = network.model
    subnet = model.backbone.subnet
    if budgets:
        subnet = model.subnet_for(*budgets, **options)
    several = images if isinstance(images, list | tuple) else [images]
    channels = model.backbone.patch_embed.projection.in_channels
    arrays = [_read(image, channels) for image in several]
    with model.evaluating(subnet):
        if isinstance(network, FeatureExtractor):
            found = network(arrays, batch_size, stage='pre_logits')
            return [dict(embedding=each.cpu().numpy()) for each in found]
        return (segment or network)(arrays, batch_size=batch_size)


def _read(image: Any, channels: int) -> np.ndarray:
    """The image in a file, or in an array, in 8 bits."""
    if isinstance(image, str | os.PathLike):
        # The inferencer itself would read any file in colours.
        flag = 'grayscale' if channels == 1 else 'color'
        found = None
        with suppress(cv2.error, IsADirectoryError):
            found = imread(image, flag=flag)
        if found is None:
            name = os.fspath(image)
            raise ValueError(f'{name!r} is no image that can be read')
        return found
    shape: tuple[int, ...] = getattr(image, 'shape', ())
    is_gray = channels == 1 and len(shape) == 2
    is_valid = is_gray or (len(shape) == 3 and shape[2] == channels)
    if not isinstance(image, np.ndarray) or not is_valid or not image.size:
        raise ValueError(
            f'an image of type {type(image).__name__} and shape '
            f'{tuple(shape)}; must be a path, or an array (height, width, '
            f'{channels})'
        )
    return _to_bytes(image)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """An array in 8 bits; its type says its range, no value is looked at."""
    kind, size = image.dtype.kind, image.itemsize
    if kind == 'u' and size <= 2:
        high_byte = image >> 8 * (size - 1)  # all that cv2 reads of a file
        return high_byte.astype(np.uint8, order='C')
    found = ''
    if kind == 'f':
        low, high = image.min(), image.max()
        if -_OVERSHOOT <= low <= high <= 1 + _OVERSHOOT:
            exact = image.astype(np.float64).clip(0, 1) * 255
            return np.rint(exact).astype(np.uint8, order='C')
        found = f' with values of {low:.6g} to {high:.6g}'
    raise ValueError(
        f'an image of type {image.dtype}{found}; must be of uint8 (0 to 255), '
        'uint16 (0 to 65535) or floats from 0 to 1'
    )
