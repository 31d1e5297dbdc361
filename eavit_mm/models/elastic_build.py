"""What a stock ViT must be to become a supernet, its geometry and space."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn.bricks.drop import DropPath
from mmengine.logging import print_log
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import SwiGLUFFN
from torch import nn

from eavit_mm.models.axes import hidden_channels, parameter_axes
from eavit_mm.space import Geometry, SearchSpace


def end_norms(vit: VisionTransformer) -> dict[str, nn.LayerNorm]:
    """The LayerNorms outside of the layers that the forward uses."""
    norms = dict(vit.named_modules())
    names = ('patch_embed.norm', 'pre_norm', 'ln1', 'ln2')
    return {
        name: norms[name]
        for name in names
        if isinstance(norms.get(name), nn.LayerNorm)
    }


def check_drop_path(vit: VisionTransformer) -> None:
    """Refuses a rate that drops all or more; names the worst of the layers.

    Raises:
        ValueError: Names the rate.
    """
    rates = [
        float(module.drop_prob)
        for module in vit.modules()
        if isinstance(module, DropPath)
    ]
    rate = max(rates, key=abs, default=0.0)
    if not 0 <= rate < 1:
        raise ValueError(f'drop_path_rate={rate}; must be in [0, 1)')


def check_sliceable(vit: VisionTransformer) -> None:
    """Refuses parts that cannot be sliced, by name.

    Raises:
        ValueError: Names the part, what it is, and what can be sliced.
    """
    if type(vit.patch_embed.projection) is not nn.Conv2d:
        raise ValueError(
            f'patch_embed: conv_type={type(vit.patch_embed.projection)}; '
            'only Conv2d can be sliced'
        )
    for name, module in vit.named_modules():
        leaf = name.rsplit('.', 1)[-1]
        is_norm = leaf in ('ln1', 'ln2', 'pre_norm') or (
            name == 'patch_embed.norm'
        )
        if is_norm and not isinstance(module, nn.LayerNorm | nn.Identity):
            raise ValueError(
                f'{name}: norm {type(module).__name__} cannot be sliced; '
                "only norm_cfg type 'LN' can"
            )
        if isinstance(module, nn.LayerNorm) and module.bias is None:
            raise ValueError(
                f'{name}: a LayerNorm without weight and bias cannot be sliced'
            )
    for i, layer in enumerate(vit.layers):
        ffn = layer.ffn
        if not isinstance(ffn, SwiGLUFFN) and ffn.num_fcs != 2:
            raise ValueError(
                f'layer {i}: num_fcs={ffn.num_fcs}; only FFNs of 2 linear '
                'maps can be sliced'
            )
        if layer.attn.head_dims != vit.layers[0].attn.head_dims:
            raise ValueError(
                f'layer {i}: head_dims={layer.attn.head_dims}, layer 0 has '
                f'{vit.layers[0].attn.head_dims}; all layers must have heads '
                'of one width'
            )
        if vit.embed_dims % layer.attn.num_heads:
            raise ValueError(
                f'layer {i}: embed_dims={vit.embed_dims} does not divide '
                f'into num_heads={layer.attn.num_heads} heads'
            )
    parameter_axes(vit)  # refuses weights that it does not know


def warn_of_stock_model(vit: Any) -> None:
    """Says once that of all subnets only the largest is trained."""
    is_told = getattr(vit, 'is_told', False)
    if not is_told and vit.space.smallest != vit.space.largest:
        vit.is_told = True
        print_log(
            'Trained outside of an elastic model, which alone draws subnets: '
            'only the largest is trained. Give model the type '
            "'eavit_mm.ElasticImageClassifier'.",
            'current',
            logging.WARNING,
        )


def geometry_of(vit: VisionTransformer) -> Geometry:
    """What the costs of a ViT depend on besides the subnet."""
    conv = vit.patch_embed.projection
    rows, columns = vit.patch_resolution
    layers = list(vit.layers)
    return Geometry(
        num_patches=rows * columns,
        num_extra_tokens=vit.num_extra_tokens,
        patch_dims=conv.weight[0].numel(),
        head_dims=layers[0].attn.head_dims,
        num_layers=len(layers),
        swiglu=tuple(isinstance(layer.ffn, SwiGLUFFN) for layer in layers),
    )


def build_space(
    vit: VisionTransformer, cfg: Mapping[str, Any] | None
) -> SearchSpace:
    """The search space of a config; its largest member is the network.

    Raises:
        ValueError: If the space is not valid or its largest member is not.
    """
    layers = list(vit.layers)
    whole: dict[str, Sequence[Any]] = dict(
        embed_dims=[vit.embed_dims],
        num_heads=[[layer.attn.num_heads] for layer in layers],
        feedforward_channels=[[hidden_channels(la.ffn)] for la in layers],
    )
    shape = dict(num_layers=len(layers), head_dims=layers[0].attn.head_dims)
    network = SearchSpace.from_config(whole, **shape).largest
    space = SearchSpace.from_config(whole if cfg is None else cfg, **shape)
    for axis in whole:
        largest, full = getattr(space.largest, axis), getattr(network, axis)
        if largest != full:
            raise ValueError(
                f"space: the largest {axis} is {largest}, the network's own "
                f'is {full}; the largest choice must be the whole network'
            )
    return space
