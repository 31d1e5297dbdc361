"""A subnet as a dense network: its config, its weights, the module.

Which weights a subnet has, the table of axes says, and the leaves of necks
and heads.
"""

from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from eavit_mm.models import ElasticImageClassifier
from eavit_mm.models.axes import narrow_weights
from eavit_mm.models.consumers import cut_consumer
from eavit_mm.space import Subnet

_WIDTHS = ('num_heads', 'feedforward_channels')
# The stock classifier's arguments; weights do not come from these two.
_STOCK = set(signature(ImageClassifier).parameters) - {
    'pretrained',
    'init_cfg',
}


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
        cfg: The elastic classifier's; what only that one takes is left out.
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
        cfg: That of the ``ElasticVisionTransformer``.
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
    model.backbone.space.check(subnet)
    weights = narrow_weights(model.backbone, subnet)
    state = {f'backbone.{name}': value for name, value in weights.items()}
    for part, consumer in model.consumers.items():
        cut = cut_consumer(consumer, subnet.embed_dims)
        for name, value in cut.state_dict().items():
            state[f'{part}.{name}'] = value
    return state
