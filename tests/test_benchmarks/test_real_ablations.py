"""EA-ViT without its parts: what the variants train."""

from dataclasses import replace

import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from benchmarks import real, real_ablations

TASK = real_ablations.TASK
SHORT = replace(TASK, passes=1_600)
ALL = {'embed_dims', 'num_heads', 'feedforward_channels', 'off'}
OTHER = {
    real_ablations.FOUR: ALL,
    'FFN alone': {'feedforward_channels'},
    'FFN, heads and depth': ALL - {'embed_dims'},
    'FFN, heads and embedding': ALL - {'off'},
}


@pytest.mark.parametrize('name', TASK.methods)
def test_a_variant_lacks_what_it_is_called_after(name: str) -> None:
    first, second = real.configs_of(SHORT, name, 'eurosat', 1).values()
    hooks = [hook['type'] for hook in first.custom_hooks]
    assert ('eavit_mm.RearrangeHook' in hooks) != (name == 'no rearrangement')
    orders = [
        h['criterion']['type'] for h in first.custom_hooks if 'criterion' in h
    ]
    assert ('eavit_mm.FisherCriterion' in orders) == (name == 'SnapViT order')
    (levels,) = (h['levels'] for h in first.custom_hooks if 'levels' in h)
    assert (len(levels) == 1) == (name == 'no curriculum')
    lost = name == 'no Pareto initialisation'
    assert (second.model.router.get('fit_steps', 1) == 0) == lost
    init_default_scope('mmpretrain')
    spaces = {
        MODELS.build(dict(cfg.model, router=None)).backbone.space
        for cfg in (first, second)
    }
    (space,) = spaces
    some = [space.largest, space.smallest, space.uniform(0.5)]
    axes = {
        axis
        for axis in ALL - {'off'}
        if len({str(getattr(each, axis)) for each in some}) > 1
    }
    axes |= {'off'} if space.max_off else set()
    assert axes == OTHER.get(name, {'feedforward_channels', 'num_heads'})
    # The recipe's search races, those of other axes do not.
    is_of_axes = name in OTHER or name == 'FFN and heads'
    assert (first.search_cfg.get('race') is None) == is_of_axes
