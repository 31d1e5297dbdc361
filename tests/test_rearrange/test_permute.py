"""A rearranged network is the original one: same function, new order."""

from typing import Any

import pytest
import torch
from torch import Tensor
from toys import HEADS, batch_of

from eavit_mm.models.axes import CHANNELS
from eavit_mm.rearrange import (
    MagnitudeCriterion,
    RandomCriterion,
    rearrange,
)

from .toys import CRITERIA, batches, build, draw

EXACT = dict(rtol=0, atol=1e-9)


@torch.no_grad()
def outputs(model: Any) -> tuple[tuple[Tensor, ...], Tensor]:
    """Features of every output, and logits, of two new images."""
    x = batch_of(77, model=model)['inputs']
    return model.backbone(x), model(x, mode='tensor')


def assert_rearranged(
    model: Any, before: tuple[tuple[Tensor, ...], Tensor], order: Tensor
) -> None:
    axis = 1 if model.backbone.out_type == 'featmap' else -1
    features, logits = outputs(model)
    for new, old in zip(features, before[0], strict=True):
        torch.testing.assert_close(new, old.index_select(axis, order), **EXACT)
    torch.testing.assert_close(logits, before[1], **EXACT)


@pytest.mark.parametrize('seed', range(40))
def test_any_network_keeps_its_function(seed):
    model = draw(seed)
    criterion = list(CRITERIA)[seed % len(CRITERIA)]
    before = outputs(model)
    data = batches(model=model)
    found = rearrange(model, CRITERIA[criterion](), data)
    assert_rearranged(model, before, found[CHANNELS])
    for name, order in found.items():
        assert sorted(order.tolist()) == list(range(len(order))), name
        if criterion == 'none':
            assert order.tolist() == list(range(len(order))), name


@pytest.mark.parametrize('head', HEADS)
def test_every_head_reads_the_new_order(head):
    model = build(head=head)
    before = outputs(model)
    found = rearrange(model, RandomCriterion(seed=3))
    assert_rearranged(model, before, found[CHANNELS])


def test_a_new_head_stays_as_it_is():
    model = build()
    weight = model.head.fc.weight.detach().clone()
    before = outputs(model)
    found = rearrange(model, RandomCriterion(seed=3), with_head=False)
    assert torch.equal(model.head.fc.weight, weight)
    features, logits = outputs(model)
    torch.testing.assert_close(
        features[0], before[0][0][:, found[CHANNELS]], **EXACT
    )
    assert (logits - before[1]).abs().max() > 0.01


def test_parameters_stay_the_same_objects():
    # Optimizers and EMA copies hold on to them.
    model = build()
    before = dict(model.named_parameters())
    rearrange(model, MagnitudeCriterion())
    after = dict(model.named_parameters())
    assert all(after[name] is p for name, p in before.items())
    assert all(p.grad is None and p.requires_grad for p in after.values())
