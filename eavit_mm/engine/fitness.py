"""Metrics of subnets on data that stays in memory."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ImageClassifier
from torch import Tensor
from torch.utils.data import DataLoader

from eavit_mm.engine.metric_report import numbers_of, report_of
from eavit_mm.models import ElasticModelMixin
from eavit_mm.space import Subnet

AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}
# Share of a GPU's free memory for data that stays there.
_MEMORY_SHARE = 0.5

Metrics = dict[str, float]


class Fitness:
    """Evaluates subnets on data that went through its pipeline once.

    Args:
        model: The supernet, in eval mode.
        dataloader: Its batches are kept, on the model's device if they fit.
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
        self.size = len(dataloader.dataset)  # type: ignore[arg-type]
        self.batches = _keep(model, dataloader)
        self._measure = self._any_metric
        if _is_plain_accuracy(model, evaluator):
            self._measure = self._plain_accuracy
            self.labels = torch.cat(
                [
                    s.gt_label
                    for _, b in self.batches
                    for s in b['data_samples']
                ]
            ).cpu()

    @torch.no_grad()
    def __call__(self, subnet: Subnet, dtype: str | None = None) -> Metrics:
        """The numbers that the evaluator reports of a subnet.

        Args:
            subnet: A member of the space.
            dtype: In place of the usual one.

        Raises:
            ValueError: If there is no number of the metric's name.
            FloatingPointError: If it is not finite, or scores are not; names
                the subnet.
        """
        autocast = self._autocast(dtype or self.dtype)
        try:
            with self.model.backbone.frozen(subnet), autocast:
                report = self._measure()
            return numbers_of(report, self.metric)
        except FloatingPointError as error:
            raise FloatingPointError(f'{subnet.to_json()}: {error}') from error

    def _autocast(self, dtype: str) -> AbstractContextManager[Any]:
        if dtype == 'float32':
            return nullcontext()
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, AMP_DTYPES[dtype])

    def _any_metric(self) -> Mapping[str, Any]:
        """Through the stock prediction and the metrics' own processing."""
        for raw, batch in self.batches:
            outputs = self.model(**self._to_device(batch), mode='predict')
            for sample in outputs:
                if 'pred_score' in sample:
                    _check_finite(sample.pred_score)
            self.evaluator.process(data_samples=outputs, data_batch=raw)
        return report_of(self.evaluator, self.size)

    def _plain_accuracy(self) -> Mapping[str, Any]:
        """The same number without an object for every image."""
        scores = torch.cat(
            [
                self.model(self._to_device(batch)['inputs'], mode='tensor')
                for _, batch in self.batches
            ]
        )
        _check_finite(scores)
        (metric,) = self.evaluator.metrics
        found = metric.calculate(
            scores.softmax(dim=1).cpu(), self.labels, metric.topk, metric.thrs
        )
        return {
            f'{metric.prefix}/top{k}': values[0].item()
            for k, values in zip(metric.topk, found, strict=True)
        }

    def _to_device(self, batch: Any) -> Any:
        """A batch, which may have had to stay outside of the device."""
        return self.model.data_preprocessor.cast_data(batch)


def _check_finite(scores: Tensor) -> None:
    """Raises if a network does not compute: its accuracy would be a number.

    Raises:
        FloatingPointError: If a score is NaN or infinite.
    """
    if not scores.isfinite().all():
        raise FloatingPointError(
            'scores are not finite; was the type of numbers too small for '
            'this network (search_cfg.dtype)?'
        )


def _keep(model: Any, dataloader: DataLoader[Any]) -> list[tuple[Any, Any]]:
    """Every batch before and after the data preprocessor."""
    batches: list[tuple[Any, Any]] = []
    on_device = True
    # The loader's own sampler gives each rank another part of the data.
    whole = DataLoader(
        dataloader.dataset,
        batch_size=dataloader.batch_size,
        num_workers=dataloader.num_workers,
        collate_fn=dataloader.collate_fn,
    )
    for raw in whole:
        batch = model.data_preprocessor(raw, False)
        left = len(whole) - len(batches) - 1
        on_device = on_device and _fits(batch['inputs'], left)
        if not on_device:
            batch['inputs'] = batch['inputs'].cpu()
        batches.append((raw, batch))
    return batches


def _fits(inputs: Tensor, number: int) -> bool:
    """Whether so many batches more leave the device room to compute."""
    if inputs.device.type != 'cuda':
        return True
    free, _ = torch.cuda.mem_get_info(inputs.device)
    return inputs.nbytes * number < _MEMORY_SHARE * free


def _is_plain_accuracy(model: Any, evaluator: Evaluator) -> bool:
    """Whether the metric is known from scores and labels alone."""
    metrics = evaluator.metrics
    return (
        isinstance(model, ImageClassifier)
        and len(metrics) == 1
        and type(metrics[0]) is Accuracy
        and len(metrics[0].thrs) == 1
    )
