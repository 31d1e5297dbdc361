"""How important every channel, head and neuron of a ViT is.

Letters: B batch, N tokens, C channels of the residual stream, H heads, D
channels of a head, F hidden channels of an FFN, L layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from eavit_mm.models.axes import (
    CHANNELS,
    Units,
    ffn_linears,
    parameter_axes,
    units_of,
)
from eavit_mm.models.elastic_vit import ElasticVisionTransformer
from eavit_mm.registry import TASK_UTILS
from eavit_mm.space.cells import FFN, HEADS

# Importance of every unit, by kind of unit; larger means kept longer.
Scores = dict[Units, Tensor]


def zero_scores(vit: ElasticVisionTransformer) -> Scores:
    """Scores of a network before anything is known."""
    numbers = units_of(vit.space.largest).items()
    return {units: torch.zeros(number) for units, number in numbers}


class Criterion(ABC):
    """Scores the units of a ViT inside a model."""

    # Whether `score` reads the batches.
    needs_data = False

    @abstractmethod
    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """Scores all units; leaves the model as it was.

        Args:
            model: An elastic classifier or segmentor.
            batches: What its data loader gives; empty if the criterion needs
                none.

        Raises:
            ValueError: If data is needed and there is none.
        """


@TASK_UTILS.register_module()
class NoCriterion(Criterion):
    """Leaves every unit where it is."""

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        return zero_scores(model.backbone)


@TASK_UTILS.register_module()
class RandomCriterion(Criterion):
    """A seeded random order: the control of every other criterion.

    Args:
        seed: Decides the order.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        generator = torch.Generator().manual_seed(self.seed)
        scores = zero_scores(model.backbone)
        return {k: v.uniform_(generator=generator) for k, v in scores.items()}


@TASK_UTILS.register_module()
class MagnitudeCriterion(Criterion):
    """Sum of ``|w|`` over a unit's weights in linear maps; needs no data."""

    @torch.no_grad()
    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        vit = model.backbone
        scores = zero_scores(vit)
        weights = dict(vit.named_parameters())
        for name, (axes, _, is_map) in parameter_axes(vit).items():
            for axis in axes if is_map else ():
                scores[axis.units] += axis.sum(weights[name].abs()).cpu()
        return scores


@contextmanager
def evaluation_data(
    criterion: Criterion, model: BaseModel, batches: Iterable[Any]
) -> Iterator[Iterator[dict[str, Any]]]:
    """What a model in evaluation mode is to be scored by.

    Raises:
        ValueError: If there is no batch.
    """

    def calibration() -> Iterator[dict[str, Any]]:
        batch = None
        for batch in batches:
            yield model.calibration_data(batch)
        if batch is None:
            raise ValueError(
                f'{type(criterion).__name__} needs at least one batch of '
                'calibration data'
            )

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield calibration()
    finally:
        for module, mode in modes.items():
            module.training = mode


class _UnitCriterion(Criterion):
    """Accumulates a value per unit over calibration data.

    A unit's activation is: for a channel, the outputs of the LayerNorms, from
    which every branch reads; for a head, its part of the input of the output
    projection; for a neuron, its input of the FFN's last map.
    """

    needs_data = True

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        scores = zero_scores(model.backbone)
        with evaluation_data(self, model, batches) as calibration:
            for data in calibration:
                self._score_batch(model, data, scores)
        return scores

    @abstractmethod
    def _score_batch(
        self, model: BaseModel, data: dict[str, Any], scores: Scores
    ) -> None:
        """Adds what one batch says of every unit."""


@TASK_UTILS.register_module()
class ActivationCriterion(_UnitCriterion):
    """Mean ``|a|`` of a unit over calibration data (EA-ViT's kind)."""

    @torch.no_grad()
    def _score_batch(
        self, model: BaseModel, data: dict[str, Any], scores: Scores
    ) -> None:
        def add(total: Tensor, activation: Tensor) -> Tensor:
            # (..., units, width) -> (units)
            mean = activation.abs().flatten(0, -3).mean((0, 2))
            total += mean.to(total)
            return activation

        with _watch(model.backbone, scores, add):
            model._run_forward(data, mode='tensor')


@TASK_UTILS.register_module()
class TaylorCriterion(_UnitCriterion):
    """First-order Taylor, ``|sum a * dL/da|`` (DynaBERT, arXiv 2004.04037).

    The sum goes over the images and tokens of a batch, its size over
    batches; dL/da is the change of the loss per change of the activation. A
    head's is its gradient of a mask; a neuron also has that of what it gets
    from the FFN's first map, so that its score is DynaBERT's:
    ``|sum(w1 dw1 + b1 db1)| + |sum(w2 dw2)|``.
    """

    @torch.enable_grad()
    def _score_batch(
        self, model: BaseModel, data: dict[str, Any], scores: Scores
    ) -> None:
        kept: list[tuple[Tensor, Tensor]] = []

        def keep(total: Tensor, activation: Tensor) -> Tensor:
            if not activation.requires_grad:  # behind frozen stages
                activation = activation.detach().requires_grad_()
            kept.append((total, activation))
            return activation

        with _watch(model.backbone, scores, keep, maps_in=True):
            losses = model._run_forward(data, mode='loss')
        loss, _ = model.parse_losses(losses)
        activations = [activation for _, activation in kept]
        # An output that the head does not read has no gradient: no score.
        gradients = torch.autograd.grad(
            loss, activations, allow_unused=True, materialize_grads=True
        )
        for (total, activation), gradient in zip(kept, gradients, strict=True):
            product = activation.detach() * gradient
            total += product.flatten(0, -3).sum((0, 2)).abs().to(total)


Receive = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def _watch(
    vit: ElasticVisionTransformer,
    scores: Scores,
    receive: Receive,
    maps_in: bool = False,
) -> Iterator[None]:
    """Hands activations to ``receive`` while the stock forward runs.

    It gets the scores to add to and an activation (..., units, width of a
    unit), and returns the activation that the forward goes on with. With
    ``maps_in`` a neuron has its outputs of the FFN's first map as well.
    """
    handles = []

    def watch_output(module: nn.Module, total: Tensor) -> None:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            # All units in a row; a SwiGLU has two such rows.
            rows = torch.unflatten(output, -1, (-1, len(total)))
            units = receive(total, rows.transpose(-1, -2))
            return units.transpose(-1, -2).flatten(-2)

        handles.append(module.register_forward_hook(hook))

    def watch_input(linear: nn.Module, total: Tensor) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
            parts = inputs[0].reshape(*inputs[0].shape[:-1], len(total), -1)
            return receive(total, parts).flatten(-2)

        handles.append(linear.register_forward_pre_hook(hook))

    for i, layer in enumerate(vit.layers):
        watch_output(layer.ln1, scores[CHANNELS])
        watch_output(layer.ln2, scores[CHANNELS])
        watch_input(layer.attn.proj, scores[HEADS, i])
        first, last = ffn_linears(layer.ffn)
        watch_input(last, scores[FFN, i])
        if maps_in:
            watch_output(first, scores[FFN, i])
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
