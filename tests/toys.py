"""Small networks in which every axis has a length of its own."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from dense import DenseViT
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapper
from mmpretrain.models import VisionTransformer
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import eavit_mm  # noqa: F401
from benchmarks.export_cases import SWIGLU as SWIGLU
from benchmarks.export_cases import random_backbone as random_backbone
from eavit_mm.models import (
    ElasticVisionTransformer,
    Leaf,
    Reading,
    register_consumer,
)
from eavit_mm.models.gates import Gates, decision_gates_of, gates_of
from eavit_mm.space import SearchSpace, Subnet

# Networks this small are slower on more threads.
torch.set_num_threads(1)

# C = H D = 24 channels, N = 2 x 3 patches and a class token.
ARCH = dict(embed_dims=24, num_layers=3, num_heads=6, feedforward_channels=20)
SPACE = dict(
    embed_dims=[5, 8, 14, 24],
    num_heads=[1, 2, 4, 6],
    feedforward_channels=[1, 7, 12, 20],
    max_off=6,
)
# Four widths of the whole network, as Scala's.
SCALA = dict(
    embed_dims=[6, 12, 18, 24],
    head_dims=[1, 2, 3, 4],
    num_heads=[6],
    feedforward_channels=[5, 10, 15, 20],
    ties=[['embed_dims', 'head_dims', 'feedforward_channels']],
    suffix_smallest=True,
)
CLASSES = 9
HEADS = dict(
    linear=dict(type='LinearClsHead'),
    stacked=dict(type='StackedLinearClsHead', mid_channels=[11, 13]),
    vit=dict(type='VisionTransformerClsHead'),
    vit_hidden=dict(type='VisionTransformerClsHead', hidden_dim=15),
)


@MODELS.register_module()
class FirstTokenHead(LinearClsHead):
    """Reads the first token of ``out_type='raw'``."""

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        return feats[-1][:, 0]


register_consumer(FirstTokenHead, lambda head, live: Reading({'fc': Leaf()}))


def parts_for(out_type: str, head: str = 'linear') -> dict[str, Any]:
    """The neck and head that read such features."""
    if out_type == 'raw':
        return dict(head=dict(type='FirstTokenHead'))
    parts: dict[str, Any] = dict(head=HEADS[head])
    if out_type == 'featmap':
        parts['neck'] = dict(type='GlobalAveragePooling')
    return parts


def options(**changes: Any) -> dict[str, Any]:
    """Arguments of the small stock network."""
    base: dict[str, Any] = dict(
        arch=ARCH, img_size=(8, 12), patch_size=4, out_indices=[-1]
    )
    base.update(changes)
    # mmpretrain writes into the list that it is given.
    return {**base, 'out_indices': list(base['out_indices'])}


def small_vit(**changes: Any) -> ElasticVisionTransformer:
    changes.setdefault('space', SPACE)
    space = changes.pop('space')
    return ElasticVisionTransformer(**options(**changes), space=space)


def small_stock(**changes: Any) -> VisionTransformer:
    return VisionTransformer(**options(**changes))


def randomise(module: nn.Module, seed: int = 0) -> Any:
    """Gives every parameter values that no other has; norms as well."""
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=rng)
        scales = name.rsplit('.', 1)[-1] == 'weight' and parameter.ndim == 1
        spread = 0.4 if parameter.ndim > 1 else 0.3
        parameter.data.copy_(spread * noise + float(scales))
    return module


def images(
    batch: int = 2, size: tuple[int, int] = (8, 12), seed: int = 0
) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, *size, generator=rng)


def member(
    embed_dims: int = 14,
    num_heads: tuple[int, ...] = (2, 0, 4),
    feedforward_channels: tuple[int, ...] = (12, 7, 0),
    head_dims: int = 4,
) -> Subnet:
    return Subnet(embed_dims, num_heads, feedforward_channels, head_dims)


def random_subnet(space: SearchSpace, seed: int) -> Subnet:
    return space.sample(np.random.default_rng(seed), p_off=0.5)


def gates_for(vit: ElasticVisionTransformer, subnet: Subnet) -> Gates:
    """The gates of a subnet, without gradients."""
    return gates_of(vit.space, decision_gates_of(vit.space, subnet))


class Case(NamedTuple):
    """A network, one of its subnets, and images."""

    vit: ElasticVisionTransformer
    dense: DenseViT
    subnet: Subnet
    x: Tensor
    cfg: dict[str, Any]


def random_case(seed: int, batch: int = 2, scala: bool = False) -> Case:
    """Draws an architecture, weights, a space, a subnet and images.

    With ``scala`` heads may be narrow; each other subnet is a suffix.
    """
    rng = np.random.default_rng(seed)
    cfg = random_backbone(rng, scala)
    vit = ElasticVisionTransformer(**deepcopy(cfg))
    randomise(vit, seed).double()
    del cfg['space']
    subnet = random_subnet(vit.space, seed)
    if scala and seed % 2:
        subnet = vit.space.nearest(replace(subnet, embed_dims=1))
    shape = (batch, cfg['in_channels'], *cfg['img_size'])
    x = torch.from_numpy(rng.standard_normal(shape))
    return Case(vit, dense_twin(vit, subnet, cfg), subnet, x, cfg)


def dense_twin(
    vit: nn.Module, subnet: Subnet, cfg: dict[str, Any]
) -> DenseViT:
    """The dense network of a subnet; all but weights from the config."""
    return DenseViT(dict(vit.named_parameters()), subnet, cfg)


def classifier(
    head: dict[str, Any] | None = None,
    backbone: dict[str, Any] | None = None,
    seed: int = 0,
    **changes: Any,
) -> Any:
    """An elastic classifier in float64, its weights random."""
    backbone = {'space': SPACE, **options(**(backbone or {}))}
    head = dict(HEADS['linear']) if head is None else dict(head)
    cfg: dict[str, Any] = dict(
        type='eavit_mm.ElasticImageClassifier',
        # The classifier's own makes float32 of every image.
        data_preprocessor=BaseDataPreprocessor(),
        backbone=dict(type='eavit_mm.ElasticVisionTransformer', **backbone),
        head=dict(
            num_classes=CLASSES,
            in_channels=backbone['arch']['embed_dims'],
            **head,
        ),
    )
    cfg.update(changes)
    return randomise(MODELS.build(cfg), seed).double()


def batch_of(number: int, size: int = 2, model: Any = None) -> dict[str, Any]:
    """Data batch ``number`` of a loader; of a model's image size."""
    rng = torch.Generator().manual_seed(1000 + number)
    labels = torch.randint(CLASSES, (size,), generator=rng)
    inputs = images(size, seed=number)
    if model is not None:
        channels = model.backbone.patch_embed.projection.in_channels
        shape = (size, channels, *model.backbone.img_size)
        inputs = torch.randn(shape, generator=rng)
    return dict(
        inputs=inputs.double(),
        data_samples=[DataSample().set_gt_label(k.item()) for k in labels],
    )


def sgd(model: nn.Module, **changes: Any) -> OptimWrapper:
    """Plain gradient steps with momentum, which remembers every mistake."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return OptimWrapper(optimizer, **changes)


def close(
    actual: Sequence[Tensor], expected: Sequence[Tensor], atol: float
) -> None:
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def counted_macs(run: Callable[[], Any]) -> int:
    """Multiply-adds of what a function runs, by torch's counter."""
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        run()
    macs, rest = divmod(counter.get_total_flops(), 2)
    assert not rest
    return macs


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def assert_same_weights(
    model: nn.Module, before: dict[str, Tensor], atol: float = 0.0
) -> None:
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        torch.testing.assert_close(
            after[name], value, rtol=0, atol=atol, msg=lambda m, n=name: n + m
        )
