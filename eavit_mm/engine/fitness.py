"""Metrics of subnets, on data that are read once if they fit."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ImageClassifier
from torch import Tensor
from torch.utils.data import DataLoader

from eavit_mm.engine.kept_data import KeptData
from eavit_mm.models import ElasticModelMixin
from eavit_mm.space import Subnet

AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}

Metrics = dict[str, float]


class Fitness:
    """Evaluates subnets on the whole data of a loader.

    Args:
        model: The supernet, in eval mode.
        dataloader: Its data are kept, see :class:`KeptData`.
        evaluator: The evaluator that reports the metrics.
        metric: Name of the one that is searched for.
        dtype: 'float32', or 'float16' and 'bfloat16' for autocast.
    """

    def __init__(
        self,
        model: ElasticModelMixin,
        dataloader: DataLoader[Any],
        evaluator: Evaluator,
        metric: str,
        dtype: str = 'float32',
    ) -> None:
        self.model: Any = model
        self.evaluator = evaluator
        self.metric = metric
        self.dtype = dtype
        self.preprocess = self.model.data_preprocessor
        self.data = KeptData(dataloader, self.preprocess.cast_data)
        self._measure: Callable[..., Any] = self._any_metric
        if is_plain_accuracy(model, evaluator):
            self._measure = self._plain_accuracy
            samples = (s for batch in self.data for s in batch['data_samples'])
            self.labels = torch.cat([s.gt_label for s in samples]).cpu()

    @torch.no_grad()
    def __call__(
        self, subnet: Subnet, dtype: str | None = None, *part: int
    ) -> Metrics:
        """The numbers that the evaluator reports of a subnet.

        Args:
            subnet: What is evaluated.
            dtype: In place of the usual one.
            *part: The first image, and the one behind the last; by default
                all. Only a plain accuracy is known of a part.

        Raises:
            ValueError: If there is no number of the metric's name.
            FloatingPointError: If it is not finite, or scores are not; names
                the subnet.
        """
        dtype = dtype or self.dtype
        autocast = torch.autocast(
            next(self.model.parameters()).device.type,
            AMP_DTYPES.get(dtype),
            enabled=dtype in AMP_DTYPES,
        )
        try:
            with self.model.evaluating(subnet), autocast:
                report = self._measure(*part)
            return numbers_of(report, self.metric)
        except FloatingPointError as error:
            raise FloatingPointError(f'{subnet.to_json()}: {error}') from error

    def _any_metric(self) -> Mapping[str, Any]:
        """Through the stock prediction and the metrics' own processing."""
        for raw in self.data:
            batch = self.preprocess(raw, False)
            outputs = self.model(**batch, mode='predict')
            _check_finite(*chain(*map(_scores_in, outputs)))
            self.evaluator.process(data_samples=outputs, data_batch=raw)
        return report_of(self.evaluator, self.data.size)

    def _plain_accuracy(
        self, begin: int = 0, end: int = sys.maxsize
    ) -> Mapping[str, Any]:
        """The same number without an object for every image."""
        scores = torch.cat(
            [
                self.model(
                    **self.preprocess(dict(inputs=images)), mode='tensor'
                )
                for images in self.data.images(begin, end)
            ]
        )
        _check_finite(scores)
        (metric,) = self.evaluator.metrics
        found = metric.calculate(
            scores.softmax(dim=1).cpu(),
            self.labels[begin:end],
            metric.topk,
            metric.thrs,
        )
        return {
            f'{metric.prefix}/top{k}': values[0].item()
            for k, values in zip(metric.topk, found, strict=True)
        }


def _scores_in(sample: Any) -> Iterator[Tensor]:
    """What a prediction was made from: scores of the image, or of pixels."""
    if 'pred_score' in sample:
        yield sample.pred_score
    if 'seg_logits' in sample:
        yield sample.seg_logits.data


def _check_finite(*scores: Tensor) -> None:
    """Raises if a network does not compute: its accuracy would be a number."""
    are_finite = [each.isfinite().all() for each in scores]
    if are_finite and not torch.stack(are_finite).all():
        raise FloatingPointError(
            'scores are not finite; was the type of numbers too small for '
            'this network (search_cfg.dtype)?'
        )


def is_plain_accuracy(model: Any, evaluator: Evaluator) -> bool:
    """Whether the metric is known from scores and labels alone."""
    metrics = evaluator.metrics
    return (
        isinstance(model, ImageClassifier)
        and len(metrics) == 1
        and type(metrics[0]) is Accuracy
        and len(metrics[0].thrs) == 1
    )


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged: mmseg's metrics log a table of classes each time."""
    logger = MMLogger.get_current_instance()
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def report_of(evaluator: Evaluator, size: int) -> dict[str, Any]:
    """``Evaluator.evaluate`` of this process alone; it is left empty.

    mmengine's gathers the results of all ranks; in a search each rank has
    another subnet.

    Args:
        evaluator: Has processed all data.
        size: How many samples there are; what is beyond was padded.

    Raises:
        ValueError: If two metrics report under one name.
    """
    found: dict[str, Any] = {}
    for metric in evaluator.metrics:
        with silence():
            values = metric.compute_metrics(metric.results[:size])
        metric.results.clear()
        prefix = f'{metric.prefix}/' if metric.prefix else ''
        values = {f'{prefix}{name}': value for name, value in values.items()}
        for name in found.keys() & values.keys():
            raise ValueError(
                f'two metrics of the evaluator report {name!r}: give one of '
                'them another prefix'
            )
        found.update(values)
    return found


def numbers_of(report: Mapping[str, Any], metric: str) -> dict[str, float]:
    """What of a report a search keeps: its finite numbers.

    Left out are a confusion matrix, a list per class, the NaN of a class
    without images.

    Raises:
        ValueError: If the metric is no number; names those there are.
        FloatingPointError: If it is not finite.
    """
    numbers = numbers_in(report)
    if metric not in numbers:
        reason = ''
        if metric in report:
            kind = type(report[metric]).__name__
            reason = f'what is reported there is no number but a {kind}; '
        raise ValueError(
            f'metric={metric!r}: {reason}the evaluator reports the numbers '
            f'{list(numbers)}'
        )
    if not isfinite(numbers[metric]):
        raise FloatingPointError(
            f'{metric}={numbers[metric]}: are there NaN weights in the '
            'checkpoint?'
        )
    return {name: n for name, n in numbers.items() if isfinite(n)}


def numbers_in(report: Mapping[str, Any]) -> dict[str, float]:
    """What of a report is one number, of whatever library, as a float."""
    numbers = {}
    for name, value in report.items():
        if (
            isinstance(value, Tensor | np.ndarray)
            and np.prod(value.shape) == 1
        ):
            value = value.item()
        if isinstance(value, Real) and not isinstance(value, bool):
            numbers[name] = float(value)
    return numbers
