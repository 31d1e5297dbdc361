"""What reads the backbone's channels: necks and heads, cut to a width.

A consumer type is described by one fact: which of its parameters run over
the backbone's channels, and along which axis. Cutting, permuting and
counting all follow from it.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from mmpretrain.models.heads import (
    LinearClsHead,
    MultiLabelLinearClsHead,
    StackedLinearClsHead,
    VisionTransformerClsHead,
)
from mmpretrain.models.necks import GlobalAveragePooling
from torch import Tensor, nn

# Name of a parameter -> its axis of backbone channels.
ChannelAxes = dict[str, int]
_AXES: dict[type[nn.Module], Callable[[nn.Module], ChannelAxes]] = {}


def register_consumer(
    kind: type[nn.Module], axes: Callable[[nn.Module], ChannelAxes]
) -> None:
    """Declares how a neck or head reads the backbone's channels.

    Its first operation on them must be linear: the sliced backbone returns
    zeros in closed channels.

    Args:
        kind: The exact type; a subclass may read them in another way.
        axes: From an instance to its parameters that run over the channels.
    """
    _AXES[kind] = axes


def _vit_head_axes(head: VisionTransformerClsHead) -> ChannelAxes:
    first = 'head' if head.hidden_dim is None else 'pre_logits'
    return {f'layers.{first}.weight': 1}


register_consumer(LinearClsHead, lambda head: {'fc.weight': 1})
register_consumer(MultiLabelLinearClsHead, lambda head: {'fc.weight': 1})
register_consumer(StackedLinearClsHead, lambda head: {'layers.0.fc.weight': 1})
register_consumer(VisionTransformerClsHead, _vit_head_axes)
# Averages each channel by itself: nothing to cut, the head behind it is.
register_consumer(GlobalAveragePooling, lambda neck: {})


def channel_axes(consumer: nn.Module) -> ChannelAxes:
    """Parameters of a consumer that run over the backbone's channels.

    Raises:
        ValueError: If the type is not registered; a guess could give wrong
            numbers.
    """
    kind = type(consumer)
    if kind not in _AXES:
        known = sorted(cls.__name__ for cls in _AXES)
        raise ValueError(
            f'{kind.__name__} reads the features of an elastic backbone, but '
            f'how to cut it is not known; known are {known}. Declare it with '
            'eavit_mm.models.register_consumer.'
        )
    return _AXES[kind](consumer)


def check_consumer(name: str, consumer: nn.Module, embed_dims: int) -> None:
    """Raises unless a consumer can be cut and reads the right width.

    Args:
        name: Of the consumer in the model.
        consumer: A neck or head.
        embed_dims: Channels of the backbone.

    Raises:
        ValueError: If its type is not registered, or it reads another number
            of channels.
    """
    for weight, axis in channel_axes(consumer).items():
        width = consumer.get_parameter(weight).shape[axis]
        if width != embed_dims:
            raise ValueError(
                f'{name}: in_channels={width}; the backbone has '
                f'embed_dims={embed_dims}'
            )


def slice_consumer(consumer: nn.Module, width: int) -> dict[str, Tensor]:
    """What a consumer uses of each parameter at a width: views.

    Args:
        consumer: Of a registered type.
        width: Open channels of the backbone.
    """
    axes = channel_axes(consumer)
    return {
        name: p.narrow(axes[name], 0, width) if name in axes else p
        for name, p in consumer.named_parameters()
    }


def permute_consumer(consumer: nn.Module, order: Tensor) -> None:
    """Reorders the channels that a consumer reads, in place.

    Args:
        consumer: Of a registered type.
        order: (C), new position -> old channel.
    """
    for name, axis in channel_axes(consumer).items():
        weight = consumer.get_parameter(name)
        with torch.no_grad():
            weight.copy_(weight.index_select(axis, order.to(weight.device)))


def cut_consumer(consumer: nn.Module, width: int) -> nn.Module:
    """A copy that reads only the first channels.

    Args:
        consumer: Of a registered type.
        width: Channels to keep.

    Returns:
        A module of the same type; for the sliced backbone's open channels it
        gives what the consumer gives for the padded features.
    """
    cut = deepcopy(consumer)
    slices = slice_consumer(consumer, width)
    for name in channel_axes(consumer):
        path, _, leaf = name.rpartition('.')
        owner = cut.get_submodule(path)
        weight = getattr(owner, leaf)
        narrow = slices[name].detach().clone()
        setattr(owner, leaf, nn.Parameter(narrow, weight.requires_grad))
        if isinstance(owner, nn.Linear):
            owner.in_features = width
    if hasattr(cut, 'in_channels'):
        setattr(cut, 'in_channels', width)  # noqa: B010
    return cut


def consumer_params(consumer: nn.Module, width: int) -> int:
    """Parameters of the consumer, cut to a width."""
    return sum(p.numel() for p in slice_consumer(consumer, width).values())


def consumer_macs(consumer: nn.Module, width: int) -> int:
    """Multiply-adds for one image of the consumer, cut to a width.

    Every linear map of the registered types runs once per image.
    """
    axes = channel_axes(consumer)
    return sum(
        (width if f'{name}.weight' in axes else linear.in_features)
        * linear.out_features
        for name, linear in consumer.named_modules()
        if isinstance(linear, nn.Linear)
    )
