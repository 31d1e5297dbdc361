"""A subnet as a dense network: its weights, and the module.

Which weights a subnet has, the table of axes says, and the leaves of necks
and heads.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DefaultScope
from torch import Tensor

from eavit_mm.export.config import dense_config, stock_class
from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.axes import narrow_weights
from eavit_mm.models.consumers import cut_consumers
from eavit_mm.registry import MODELS
from eavit_mm.space import Subnet


def dense_network(
    model: ElasticModelMixin, cfg: Mapping[str, Any], subnet: Subnet
) -> Any:
    """A subnet of a supernet as a network of its own.

    Args:
        model: The supernet.
        cfg: The config that it was built from.
        subnet: A member of its space.

    Returns:
        The toolbox's model, such as mmpretrain's ``ImageClassifier``, around
        a ``SlimVisionTransformer``; in evaluation mode, on the device and of
        the dtype of the supernet, with weights of its own.

    Raises:
        ValueError: If the subnet is not in the space, or a neck or head of
            the config does not get the shapes of what was cut.
    """
    model.backbone.space.check(subnet)
    state = _state(model, subnet)
    stock = stock_class(model)
    toolbox = stock.__module__.partition('.')[0]
    with DefaultScope.overwrite_default_scope(toolbox):
        dense = MODELS.build(dense_config(model, cfg, subnet))
    shapes = (
        {(name, tuple(weight.shape)) for name, weight in weights.items()}
        for weights in (state, dense.state_dict())
    )
    differ = sorted(set.symmetric_difference(*shapes))
    if differ:
        raise ValueError(
            f'the exported network lacks weights of the subnet: {differ[:2]}; '
            'a neck or head must take in_channels, the width it is cut to'
        )
    like = model.backbone.pos_embed
    dense.to(device=like.device, dtype=like.dtype)
    dense.load_state_dict(state)
    dense.eval()
    return dense


def _state(model: ElasticModelMixin, subnet: Subnet) -> dict[str, Tensor]:
    """The weights of a subnet under the names of the exported network."""
    weights = narrow_weights(model.backbone, subnet)
    state = {f'backbone.{name}': value for name, value in weights.items()}
    num_levels = len(model.backbone.out_indices)
    width, side = subnet.embed_dims, subnet.side
    consumers = cut_consumers(model.consumers, num_levels, width, side)
    for part, cut in consumers.items():
        for name, value in cut.state_dict().items():
            state[f'{part}.{name}'] = value
    return state
