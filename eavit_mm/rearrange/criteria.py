"""How important every channel, head and neuron of a ViT is.

Letters: B batch, N tokens, C channels of the residual stream, H heads, D
channels of a head, F hidden channels of an FFN, L layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from eavit_mm.models.elastic_ffn import ffn_linears, hidden_channels
from eavit_mm.registry import TASK_UTILS


@dataclass
class Scores:
    """Importance of every unit; larger means kept longer.

    Attributes:
        embed_dims: (C).
        num_heads: L tensors (H).
        feedforward_channels: L tensors (F).
    """

    embed_dims: Tensor
    num_heads: list[Tensor]
    feedforward_channels: list[Tensor]

    @classmethod
    def zeros(cls, vit: VisionTransformer) -> 'Scores':
        """Scores of a network before anything is known."""
        return cls(
            torch.zeros(vit.embed_dims),
            [torch.zeros(layer.attn.num_heads) for layer in vit.layers],
            [torch.zeros(hidden_channels(layer.ffn)) for layer in vit.layers],
        )


class Criterion(ABC):
    """Scores the units of a ViT inside a model."""

    # Whether `score` reads the batches.
    needs_data = False

    @abstractmethod
    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """Scores all units; leaves the model as it was.

        Args:
            model: Classifier or segmentor of OpenMMLab with a ``backbone``.
            batches: Of its data loader; empty if the criterion needs none.

        Raises:
            ValueError: If data is needed and there is none.
        """


@TASK_UTILS.register_module()
class NoCriterion(Criterion):
    """Leaves every unit where it is."""

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        return Scores.zeros(model.backbone)


@TASK_UTILS.register_module()
class RandomCriterion(Criterion):
    """A seeded random order: the control of every other criterion.

    Args:
        seed: Of the order.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        generator = torch.Generator().manual_seed(self.seed)
        zeros = Scores.zeros(model.backbone)

        def draw(like: Tensor) -> Tensor:
            return torch.rand(like.shape, generator=generator)

        return Scores(
            draw(zeros.embed_dims),
            [draw(heads) for heads in zeros.num_heads],
            [draw(hidden) for hidden in zeros.feedforward_channels],
        )


@TASK_UTILS.register_module()
class MagnitudeCriterion(Criterion):
    """Sum of |w| over a unit's weights in the linear maps; needs no data."""

    @torch.no_grad()
    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        vit = model.backbone
        scores = Scores.zeros(vit)
        conv = vit.patch_embed.projection.weight
        channels = conv.abs().flatten(1).sum(1)
        for i, layer in enumerate(vit.layers):
            attn = layer.attn
            qkv = attn.qkv.weight.abs()  # (3 H D, C)
            proj = attn.proj.weight.abs()  # (C, H D)
            heads = qkv.sum(1).view(3, attn.num_heads, -1).sum((0, 2))
            heads = heads + proj.sum(0).view(attn.num_heads, -1).sum(1)
            scores.num_heads[i] = heads.cpu()
            inputs, output = ffn_linears(layer.ffn)
            rows = inputs.weight.abs()  # (F, C), or (2 F, C) in SwiGLU
            columns = output.weight.abs()  # (C, F)
            neurons = rows.sum(1).view(-1, columns.shape[1]).sum(0)
            scores.feedforward_channels[i] = (neurons + columns.sum(0)).cpu()
            channels = channels + qkv.sum(0) + proj.sum(1)
            channels = channels + rows.sum(0) + columns.sum(1)
        scores.embed_dims = channels.cpu()
        return scores


class _UnitCriterion(Criterion):
    """Accumulates a value per unit over calibration data.

    A unit's activation is: for a channel, the outputs of the LayerNorms, from
    which every branch reads; for a head, its part of the input of the output
    projection; for a neuron, its input of the FFN's last map.
    """

    needs_data = True

    def score(self, model: BaseModel, batches: Iterable[Any]) -> Scores:
        """See the base class."""
        vit = model.backbone
        scores = Scores.zeros(vit)
        modes = {module: module.training for module in model.modules()}
        model.eval()
        seen = 0
        try:
            for batch in batches:
                data = model.data_preprocessor(batch, False)
                self._score_batch(model, data, scores)
                seen += 1
        finally:
            for module, mode in modes.items():
                module.training = mode
        if not seen:
            raise ValueError(
                f'{type(self).__name__} needs at least one batch of '
                'calibration data'
            )
        return scores

    @abstractmethod
    def _score_batch(
        self, model: BaseModel, data: dict[str, Any], scores: Scores
    ) -> None:
        """Adds what one batch says of every unit."""


@TASK_UTILS.register_module()
class ActivationCriterion(_UnitCriterion):
    """Mean |a| of a unit over calibration data (EA-ViT's kind)."""

    @torch.no_grad()
    def _score_batch(
        self, model: BaseModel, data: dict[str, Any], scores: Scores
    ) -> None:
        def add(total: Tensor, activation: Tensor) -> Tensor:
            # (..., units, width) -> (units)
            mean = activation.abs().flatten(0, -3).mean((0, 2))
            total += mean.to(total)
            return activation

        with _watched(model.backbone, scores, add):
            model._run_forward(data, mode='tensor')


@TASK_UTILS.register_module()
class TaylorCriterion(_UnitCriterion):
    """First-order Taylor: |sum of a * dL/da| (DynaBERT, arXiv 2004.04037).

    The sum goes over the images and tokens of a batch, its size over
    batches; dL/da is the change of the loss per change of the activation.
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

        with _watched(model.backbone, scores, keep):
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
def _watched(
    vit: VisionTransformer, scores: Scores, receive: Receive
) -> Iterator[None]:
    """Hands activations to ``receive`` while the stock forward runs.

    ``receive(total, activation)`` gets the scores to add to and an
    activation (..., units, width of a unit), and returns the activation that
    the forward goes on with.
    """
    handles = []

    def watch_output(norm: nn.Module) -> None:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            units = receive(scores.embed_dims, output.unsqueeze(-1))
            return units.flatten(-2)

        handles.append(norm.register_forward_hook(hook))

    def watch_input(linear: nn.Module, total: Tensor) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
            parts = inputs[0].reshape(*inputs[0].shape[:-1], len(total), -1)
            return receive(total, parts).flatten(-2)

        handles.append(linear.register_forward_pre_hook(hook))

    for i, layer in enumerate(vit.layers):
        watch_output(layer.ln1)
        watch_output(layer.ln2)
        watch_input(layer.attn.proj, scores.num_heads[i])
        _, output = ffn_linears(layer.ffn)
        watch_input(output, scores.feedforward_channels[i])
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
