"""A subnet as a dense network: its config, its weights, the module.

What is cut where, the slices of the supernet and of its consumers say; here
they only get the names of the stock network.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from eavit_mm.models import (
    ElasticImageClassifier,
    ElasticVisionTransformer,
    cut_consumer,
)
from eavit_mm.models.elastic_attention import AttentionSlices
from eavit_mm.models.elastic_ffn import FFNSlices
from eavit_mm.models.elastic_ops import Affine, GatedNorm
from eavit_mm.space import Subnet

_WIDTHS = ('num_heads', 'feedforward_channels')
# The stock classifier's arguments; weights do not come from these two.
_STOCK = set(signature(ImageClassifier).parameters) - {
    'pretrained',
    'init_cfg',
}
# Names of a subnet's weights, and views of them.
Named = Iterator[tuple[str, Tensor]]


def dense_classifier(
    model: ElasticImageClassifier, cfg: Mapping[str, Any], subnet: Subnet
) -> ImageClassifier:
    """A subnet of a supernet as a network of its own.

    Args:
        model: The supernet.
        cfg: The config that it was built from.
        subnet: A member of its space.

    Returns:
        mmpretrain's ``ImageClassifier`` around a ``SlimVisionTransformer``,
        in evaluation mode, on the device and of the dtype of the supernet,
        with weights of its own.

    Raises:
        ValueError: If the subnet is not in the space, or a neck or head of
            the config does not get the shapes of what was cut.
    """
    state = dense_state(model, subnet)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dense = MODELS.build(dense_config(cfg, subnet))
    given = {name: tuple(value.shape) for name, value in state.items()}
    own = {name: tuple(v.shape) for name, v in dense.state_dict().items()}
    differ = sorted(set(given.items()) ^ set(own.items()))
    if differ:
        raise ValueError(
            f'the exported network does not have the weights of the subnet: '
            f'{differ[:3]}; a neck or head must take in_channels, the width '
            'that it is cut to'
        )
    like = model.backbone.pos_embed
    dense.to(device=like.device, dtype=like.dtype)
    dense.load_state_dict(state)
    dense.eval()
    return dense


# Config


def dense_config(cfg: Mapping[str, Any], subnet: Subnet) -> dict[str, Any]:
    """The config of the exported classifier.

    Args:
        cfg: Of the elastic classifier; what only that one takes is left out.
        subnet: A member of its space.
    """
    dense: dict[str, Any] = dict(
        type='ImageClassifier',
        backbone=backbone_config(cfg['backbone'], subnet),
    )
    for name, value in cfg.items():
        if name in _STOCK and name != 'backbone':
            dense[name] = deepcopy(value)
    for name in ('neck', 'head'):
        part = dense.get(name)
        if part and 'in_channels' in part:
            part['in_channels'] = subnet.embed_dims
    return dense


def backbone_config(cfg: Mapping[str, Any], subnet: Subnet) -> dict[str, Any]:
    """The config of the ``SlimVisionTransformer`` of a subnet.

    Args:
        cfg: Of the ``ElasticVisionTransformer``.
        subnet: A member of its space.
    """
    arch = dict(num_layers=subnet.num_layers, **subnet.to_dict())
    del arch['side']
    slim: dict[str, Any] = dict(
        type='eavit_mm.SlimVisionTransformer', arch=arch
    )
    for name, value in cfg.items():
        if name not in (*slim, 'space', 'init_cfg'):
            slim[name] = deepcopy(value)
    if slim.get('layer_cfgs'):
        slim['layer_cfgs'] = _without_widths(slim['layer_cfgs'])
    return slim


def _without_widths(layer_cfgs: Any) -> Any:
    if isinstance(layer_cfgs, Mapping):
        return {k: v for k, v in layer_cfgs.items() if k not in _WIDTHS}
    return [_without_widths(cfg) for cfg in layer_cfgs]


# Weights


def dense_state(
    model: ElasticImageClassifier, subnet: Subnet
) -> dict[str, Tensor]:
    """The weights of a subnet under the names of the exported classifier.

    Args:
        model: The supernet.
        subnet: A member of its space.

    Returns:
        Views where the supernet has a weight in one piece.

    Raises:
        ValueError: If the subnet is not in the space.
    """
    backbone = backbone_state(model.backbone, subnet)
    state = {f'backbone.{name}': value for name, value in backbone.items()}
    for part, consumer in model.consumers.items():
        cut = cut_consumer(consumer, subnet.embed_dims)
        for name, value in cut.state_dict().items():
            state[f'{part}.{name}'] = value
    return state


def backbone_state(
    vit: ElasticVisionTransformer, subnet: Subnet
) -> dict[str, Tensor]:
    """:func:`dense_state` of the backbone alone."""
    vit.space.check(subnet)
    slices = vit.slice(subnet)
    state = {'pos_embed': slices.pos_embed.detach()}
    if slices.cls_token is not None:
        state['cls_token'] = slices.cls_token.detach()
    named = [_affine('patch_embed.projection', slices.projection)]
    named += [_affine(name, norm) for name, norm in slices.norms.items()]
    for i, layer in enumerate(slices.layers):
        if layer.attention is not None:
            norm, attention = layer.attention
            named.append(_affine(f'layers.{i}.ln1', norm))
            named.append(_attention(f'layers.{i}.attn', attention))
        if layer.ffn is not None:
            norm, ffn = layer.ffn
            named.append(_affine(f'layers.{i}.ln2', norm))
            named.append(_ffn(f'layers.{i}.ffn', ffn))
    for pairs in named:
        state.update((name, value.detach()) for name, value in pairs)
    return state


def _affine(name: str, affine: Affine | GatedNorm) -> Named:
    assert isinstance(affine, Affine)  # a norm with gates has no subnet
    yield f'{name}.weight', affine.weight
    if affine.bias is not None:
        yield f'{name}.bias', affine.bias


def _attention(name: str, slices: AttentionSlices) -> Named:
    """q, k and v, cut apart, become one map again."""
    yield f'{name}.qkv.weight', slices.qkv_weight.flatten(0, 1)
    if slices.qkv_bias is not None:
        yield f'{name}.qkv.bias', slices.qkv_bias.flatten()
    yield from _affine(f'{name}.proj', slices.proj)
    if slices.scale is not None:
        yield f'{name}.gamma1.weight', slices.scale


def _ffn(name: str, slices: FFNSlices) -> Named:
    """Gates and values of a SwiGLU, cut apart, become one map again."""
    if len(slices.inputs) == 1:
        yield from _affine(f'{name}.layers.0.0', slices.inputs[0])
        yield from _affine(f'{name}.layers.1', slices.output)
    else:
        gate, value = slices.inputs
        yield f'{name}.w12.weight', torch.cat((gate.weight, value.weight))
        if gate.bias is not None and value.bias is not None:
            yield f'{name}.w12.bias', torch.cat((gate.bias, value.bias))
        yield from _affine(f'{name}.w3', slices.output)
    if slices.scale is not None:
        yield f'{name}.gamma2.weight', slices.scale
