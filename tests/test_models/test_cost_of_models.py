"""Closed forms against torch's counter on dense networks by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn
from toys import (
    CLASSES,
    HEADS,
    classifier,
    counted_macs,
    dense_twin,
    member,
    parts_for,
    random_backbone,
    random_case,
)

# A head of mmpretrain reads no single tokens.
SEEDS = [
    seed
    for seed in range(30)
    if random_backbone(np.random.default_rng(seed))['out_type'] != 'raw'
]


def counted(net: Any, head: nn.Module, x: torch.Tensor) -> int:
    """Multiply-adds of one image."""

    def run() -> None:
        features = net(x)[-1]
        is_map = features.ndim == 4
        head((features.mean((2, 3)) if is_map else features,))

    return counted_macs(run)


def numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stock_head(name: str, width: int) -> nn.Module:
    """The head that a config of this width builds."""
    cfg = dict(num_classes=CLASSES, in_channels=width, **HEADS[name])
    return MODELS.build(cfg).double()


def model_around(case: Any, head: str) -> Any:
    vit = case.vit
    parts = parts_for(vit.out_type, head)
    parts['head'] = dict(
        parts['head'], num_classes=CLASSES, in_channels=vit.embed_dims
    )
    return MODELS.build(
        dict(type='eavit_mm.ElasticImageClassifier', backbone=vit, **parts)
    ).double()


@pytest.mark.parametrize(
    ('seed', 'scala'),
    [*((s, False) for s in SEEDS), *((s, True) for s in SEEDS[:10])],
)
def test_model(seed: int, scala: bool) -> None:
    case = random_case(seed, batch=1, scala=scala)
    name = list(HEADS)[seed % len(HEADS)]
    model = model_around(case, name)
    head = stock_head(name, case.subnet.embed_dims)
    total = counted(case.dense, head, case.x)
    macs = model.macs(case.subnet)
    assert macs['total'] == total
    assert macs['backbone'] == case.vit.macs(case.subnet)
    assert macs['backbone'] + macs['head'] == total
    params = model.params(case.subnet)
    assert params['total'] == case.dense.numel() + numel(head)
    assert params['backbone'] == case.dense.numel()
    assert params['head'] == numel(head)


@pytest.mark.parametrize('seed', SEEDS[:10])
def test_largest_is_the_model_itself(seed: int) -> None:
    case = random_case(seed, batch=1)
    model = model_around(case, 'vit_hidden')
    largest = case.vit.space.largest
    assert model.params()['total'] == numel(model)
    assert model.params() == model.params(largest)
    assert model.macs() == model.macs(largest)
    dense = dense_twin(case.vit, largest, case.cfg)
    head = stock_head('vit_hidden', largest.embed_dims)
    assert model.macs()['total'] == counted(dense, head, case.x)


def test_paper_counts_blocks_alone() -> None:
    model = classifier()
    blocks = model.backbone.macs(count='paper')
    assert model.macs(count='paper') == dict(
        backbone=blocks, head=0, total=blocks
    )
    with pytest.raises(ValueError, match="count='flops'; must be one of"):
        model.macs(count='flops')
    for cost in (model.macs, model.params):
        with pytest.raises(ValueError, match='head_dims=5, the network 4'):
            cost(member(head_dims=5))
