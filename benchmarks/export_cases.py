"""Random classifiers with random spaces, and a subnet of each."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

import eavit_mm  # noqa: F401
from eavit_mm.space import SearchSpace, Subnet

CLASSES = 9
# mmpretrain makes 24 hidden channels of 32.
SWIGLU = dict(ffn_type='swiglu_fused', feedforward_channels=32)
HEADS = (
    dict(type='LinearClsHead'),
    dict(type='StackedLinearClsHead', mid_channels=[11, 13]),
    dict(type='VisionTransformerClsHead'),
    dict(type='VisionTransformerClsHead', hidden_dim=15),
)


def random_config(seed: int, scala: bool = False) -> Config:
    """A config in which every option of the backbone may be on or off."""
    rng = np.random.default_rng(seed)
    backbone = random_backbone(rng, scala)
    out_type = backbone['out_type']
    pooled = out_type == 'featmap'
    # Other heads take one vector of an image.
    some = HEADS if out_type in ('cls_token', 'avg_featmap') else HEADS[:1]
    model = dict(
        type='eavit_mm.ElasticImageClassifier',
        backbone=dict(backbone, type='eavit_mm.ElasticVisionTransformer'),
        neck=dict(type='GlobalAveragePooling') if pooled else None,
        head=dict(
            some[rng.integers(len(some))],
            num_classes=CLASSES,
            in_channels=backbone['arch']['embed_dims'],
        ),
        sampler=dict(type='eavit_mm.LargestSampler'),
    )
    return Config(dict(model=model, default_scope='mmpretrain'))


def random_backbone(
    rng: np.random.Generator, scala: bool = False
) -> dict[str, Any]:
    """Arguments of a backbone with a random space.

    With ``scala`` heads may be narrow, and the smallest width is a suffix.
    """

    def flip() -> bool:
        return bool(rng.random() < 0.5)

    def pick(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    D, H, L = pick(3, 4, 8), pick(1, 5, 6, 6), int(rng.integers(2, 5))
    kernel = (int(rng.integers(2, 5)), int(rng.integers(2, 5)))
    grid = (int(rng.integers(1, 4)), int(rng.integers(2, 5)))
    # Corner padding fills up what a patch lacks.
    ragged, with_cls = flip(), flip()
    outs = ['raw', 'featmap', 'avg_featmap', *['cls_token'] * with_cls]
    gated = [rng.random() < 0.3 for _ in range(L)]
    hidden = [24 if g else pick(20, 28) for g in gated]
    cfgs = [
        SWIGLU if g else dict(feedforward_channels=f)
        for g, f in zip(gated, hidden, strict=True)
    ]
    cfg = dict(
        arch=dict(
            embed_dims=D * H,
            num_layers=L,
            num_heads=H,
            feedforward_channels=20,
        ),
        img_size=[g * k - ragged for g, k in zip(grid, kernel, strict=True)],
        patch_size=kernel,
        in_channels=pick(1, 2, 3),
        out_indices=pick([-1], [0, L - 1]),
        qkv_bias=flip(),
        norm_cfg=dict(type='LN', eps=pick(1e-6, 1e-2)),
        final_norm=flip(),
        out_type=pick(*outs),
        with_cls_token=with_cls,
        layer_scale_init_value=pick(0.0, 0.5),
        patch_cfg={
            **pick({}, dict(norm_cfg=dict(type='LN'))),
            # Patches that overlap.
            **pick({}, dict(padding=1, stride=2, dilation=1)),
        },
        layer_cfgs=cfgs,
        pre_norm=flip(),
        space=random_space(rng, D * H, [H] * L, hidden),
        num_register_tokens=pick(0, 0, 3),
    )
    if scala:
        widths = rng.permutation(D - 1)[:2] + 1
        cfg['space'].update(
            head_dims=[*widths.tolist(), D],
            suffix_smallest=len(cfg['space']['embed_dims']) > 1,
        )
    return cfg


def random_space(
    rng: np.random.Generator, width: int, heads: list[int], hidden: list[int]
) -> dict[str, Any]:
    """Up to five choices of each width; every branch may be off."""

    def choices(largest: int) -> list[int]:
        some = rng.integers(1, largest + 1, size=4).tolist()
        return sorted({*some, largest})

    return dict(
        embed_dims=choices(width),
        num_heads=[choices(h) for h in heads],
        feedforward_channels=[choices(f) for f in hidden],
        max_off=2 * len(heads),
    )


def random_model(cfg: Config, seed: int) -> Any:
    """The supernet; every weight has a value of its own, norms as well."""
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model)
    rng = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        is_scale = name.rsplit('.', 1)[-1] == 'weight' and p.ndim == 1
        noise = 0.3 * torch.randn(p.shape, generator=rng)
        p.data.copy_(noise + float(is_scale))
    model.eval()
    return model


def random_subnet(space: SearchSpace, seed: int) -> Subnet:
    """A member; of ten, one each is the largest, smallest, and all off."""
    if seed % 10 == 0:
        return space.largest
    if seed % 10 == 1:
        return space.smallest
    rng = np.random.default_rng(seed)
    subnet = space.sample(rng, p_off=0.5)
    off = (0,) * space.num_layers
    if seed % 10 == 2:
        return replace(subnet, num_heads=off, feedforward_channels=off)
    return subnet
