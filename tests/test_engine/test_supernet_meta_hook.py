"""What checkpoints of a run say about the supernet."""

import pytest
import torch
from mmpretrain.registry import MODELS

from .toys import SPACE, build, model_cfg, stock_cfg

META = dict(type='eavit_mm.SupernetMetaHook')
NARROW = {**SPACE, 'embed_dims': [8, 12]}


def with_space(space):
    model = model_cfg()
    model['backbone']['space'] = space
    return model


@pytest.fixture
def trained(toy_run):
    """A checkpoint of a run over the space of the toys."""
    return str(toy_run / 'epoch_3.pth')


def test_meta_is_the_space_the_order_and_the_stage(tmp_path):
    rearrange = dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.MagnitudeCriterion'),
    )
    weights = MODELS.build(model_cfg()).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'start.pth')
    runner = build(
        tmp_path,
        custom_hooks=[META, rearrange],
        load_from=str(tmp_path / 'start.pth'),
    )
    runner.train()
    # weights_only is torch's default: nothing in it needs code.
    meta = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['meta']
    assert meta['eavit_mm'] == dict(
        space=runner.model.backbone.space.to_config(),
        rearrangement='MagnitudeCriterion',
        stage=1,
    )
    space = meta['eavit_mm']['space']
    assert space['embed_dims'] == SPACE['embed_dims']
    assert space['num_heads'] == [SPACE['num_heads']] * 2
    assert space['max_off'] == SPACE['max_off']


def test_the_same_space_loads(tmp_path, trained):
    build(tmp_path / 'second', custom_hooks=[META], load_from=trained).train()
    build(
        tmp_path / 'third', custom_hooks=[META], load_from=trained, resume=True
    ).train()


@pytest.mark.parametrize('resume', [False, True])
def test_a_foreign_space_is_refused(tmp_path, trained, resume):
    runner = build(
        tmp_path / 'second',
        custom_hooks=[META],
        model=with_space(NARROW),
        load_from=trained,
        resume=resume,
    )
    with pytest.raises(
        ValueError,
        match=r"trained for another space: \['embed_dims'\] differ; "
        r'embed_dims=\[4, 8, 12\] there, \[8, 12\] here.*'
        r'check_space=False',
    ):
        runner.train()


def test_the_check_can_be_switched_off(tmp_path, trained):
    runner = build(
        tmp_path / 'second',
        custom_hooks=[{**META, 'check_space': False}],
        model=with_space(NARROW),
        load_from=trained,
    )
    runner.train()
    meta = torch.load(tmp_path / 'second' / 'epoch_3.pth')['meta']
    assert meta['eavit_mm']['space']['embed_dims'] == [8, 12]


@pytest.mark.parametrize('meta', [None, {}, dict(eavit_mm=None)])
def test_a_checkpoint_that_says_nothing_loads(tmp_path, trained, meta):
    torch.save({**torch.load(trained), 'meta': meta}, trained)
    runner = build(tmp_path / 'second', custom_hooks=[META], load_from=trained)
    runner.load_or_resume()


def test_a_stock_model_is_left_alone(tmp_path):
    build(tmp_path, custom_hooks=[META], model=stock_cfg()).train()
    meta = torch.load(tmp_path / 'epoch_3.pth')['meta']
    assert 'eavit_mm' not in meta
