"""Rearrangement in a real run: once, after loading, same function."""

import numpy as np
import pytest
import torch
from mmengine.runner import save_checkpoint
from mmpretrain.registry import MODELS

from eavit_mm.engine.checkpoint import init_cfg_meta
from eavit_mm.engine.hooks.rearrange_hook import INFO
from eavit_mm.models.axes import CHANNELS
from eavit_mm.rearrange import ActivationCriterion, RandomCriterion, rearrange

from .toys import (
    build,
    evaluated,
    hook_of,
    images,
    loader,
    logits,
    model_cfg,
    notes_of,
    prepared,
    randomise,
    snapshot,
    stock_cfg,
)

RANDOM = dict(type='eavit_mm.RandomCriterion', seed=4)


def hooks(criterion='ActivationCriterion', *others, **options):
    if isinstance(criterion, str):
        criterion = dict(type=f'eavit_mm.{criterion}')
    return [
        dict(type='eavit_mm.RearrangeHook', criterion=criterion, **options),
        dict(type='Recorder'),
        *others,
    ]


@pytest.fixture
def pretrained(tmp_path):
    """A stock classifier's checkpoint, and its logits."""
    model = randomise(MODELS.build(stock_cfg()))
    path = tmp_path / 'stock.pth'
    save_checkpoint(dict(meta={}, state_dict=model.state_dict()), str(path))
    return str(path), logits(model)


def moved(before, model):
    after = model.state_dict()
    return {k for k, v in before.items() if not torch.equal(v, after[k])}


@pytest.mark.parametrize('criterion', ['RandomCriterion', 'NoCriterion'])
def test_a_loaded_network_keeps_its_function(tmp_path, pretrained, criterion):
    path, before = pretrained
    runner = build(tmp_path, load_from=path, custom_hooks=hooks(criterion))
    weights = prepared(runner)
    torch.testing.assert_close(
        logits(runner.model), before, rtol=1e-4, atol=1e-5
    )
    is_sorted = criterion != 'NoCriterion'
    changed = moved(weights, runner.model)
    assert ('backbone.pos_embed' in changed) == is_sorted
    assert ('head.fc.weight' in changed) == is_sorted
    noted = criterion if is_sorted else None
    assert runner.message_hub.get_info(INFO) == noted


@pytest.mark.parametrize('size', [None, 3])
def test_the_order_is_that_of_some_batches(tmp_path, pretrained, size):
    path, _ = pretrained
    hook = hooks(num_batches=2, batch_size=size)
    runner = build(tmp_path, load_from=path, custom_hooks=hook)
    prepared(runner)
    twin = MODELS.build(model_cfg())
    twin.load_state_dict(torch.load(path)['state_dict'])
    loader = build(tmp_path / 'twin').train_dataloader
    # A seeded shuffle of the data, in batches of the loader's size or another.
    size, data = size or loader.batch_size, loader.dataset
    order = np.random.default_rng(3).permutation(len(data)).tolist()
    batches = [
        loader.collate_fn([data[i] for i in order[a : a + size]])
        for a in (0, size)
    ]
    rearrange(twin, ActivationCriterion(), batches)
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name])


@pytest.mark.parametrize('where', ['backbone', 'model'])
def test_weights_of_init_cfg_keep_their_function(tmp_path, pretrained, where):
    path, before = pretrained
    cfg = dict(type='Pretrained', checkpoint=path)
    model = model_cfg()
    if where == 'model':
        model['init_cfg'] = cfg
    else:
        model['backbone']['init_cfg'] = {**cfg, 'prefix': 'backbone.'}
    runner = build(tmp_path, model=model, custom_hooks=hooks(RANDOM))
    weights = prepared(runner)
    assert 'backbone.pos_embed' in moved(weights, runner.model)
    if where == 'backbone':
        # The head is new: permuting it would change nothing that is known.
        assert not runner.model.head_was_loaded
        assert 'head.fc.weight' not in moved(weights, runner.model)
    else:
        torch.testing.assert_close(
            logits(runner.model), before, rtol=1e-4, atol=1e-5
        )


def test_a_head_of_another_task_is_not_permuted(tmp_path, pretrained):
    path, _ = pretrained
    model = model_cfg(new_head=True)
    model['head']['num_classes'] = 5
    runner = build(
        tmp_path, model=model, load_from=path, custom_hooks=hooks(RANDOM)
    )
    weights = prepared(runner)
    assert 'head.fc.weight' not in moved(weights, runner.model)
    twin = MODELS.build(model_cfg())
    twin.load_state_dict(torch.load(path)['state_dict'])
    found = rearrange(twin, RandomCriterion(4))
    stock = MODELS.build(stock_cfg())
    stock.load_state_dict(torch.load(path)['state_dict'])
    torch.testing.assert_close(
        runner.model.backbone(images())[0],
        stock.backbone(images())[0][:, found[CHANNELS]],
        rtol=1e-4,
        atol=1e-5,
    )


def test_it_runs_once_and_not_on_resume(tmp_path, pretrained):
    path, _ = pretrained
    runner = build(tmp_path, load_from=path, custom_hooks=hooks(RANDOM))
    runner.train()
    saved = torch.load(tmp_path / 'epoch_2.pth')
    assert saved['message_hub']['runtime_info'][INFO] == 'RandomCriterion'
    resumed = build(
        tmp_path,
        resume=True,
        load_from=str(tmp_path / 'epoch_2.pth'),
        custom_hooks=hooks(RANDOM),
    )
    prepared(resumed)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, saved['state_dict'][name]), name


def test_a_run_that_began_without_it_is_not_rearranged_on_resume(tmp_path):
    # The optimizer's state and the EMA are in the old order.
    build(tmp_path).train()
    path = str(tmp_path / 'epoch_2.pth')
    resumed = build(
        tmp_path, resume=True, load_from=path, custom_hooks=hooks(RANDOM)
    )
    prepared(resumed)
    saved = torch.load(path)['state_dict']
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, saved[name]), name


@pytest.mark.parametrize('meta', [None, dict(eavit_mm=None)])
def test_a_checkpoint_in_stock_order_is_rearranged(tmp_path, pretrained, meta):
    path, _ = pretrained
    torch.save({**torch.load(path), 'meta': meta}, path)
    runner = build(tmp_path, load_from=path, custom_hooks=hooks(RANDOM))
    assert moved(prepared(runner), runner.model)


def test_calibration_takes_nothing_from_endless_data(tmp_path, pretrained):
    """Training sees the data and the random numbers of a run without it."""
    # An InfiniteSampler's order is a stream: what calibration reads of it,
    # training would miss, on rank 0 alone.
    notes = []
    for name, custom_hooks in [
        ('with', hooks(num_batches=2)),
        ('without', [dict(type='Recorder')]),
    ]:
        runner = build(
            tmp_path / name,
            custom_hooks=custom_hooks,
            train_dataloader=loader(
                sampler=dict(type='InfiniteSampler', shuffle=True)
            ),
            train_cfg=dict(by_epoch=False, max_iters=4, val_interval=1000),
            load_from=pretrained[0],
        )
        runner.train()
        notes.append(notes_of(runner))
    for one, other in zip(*notes, strict=True):
        assert one['data'] == other['data']
        assert torch.equal(one['rng'], other['rng'])
        assert np.array_equal(one['numpy'], other['numpy'])


def test_the_average_of_weights_has_the_new_order(tmp_path, pretrained):
    path, _ = pretrained
    ema = dict(type='EMAHook', momentum=0.01)
    still = dict(optimizer=dict(type='SGD', lr=0.0))
    runner = build(
        tmp_path,
        load_from=path,
        custom_hooks=hooks(RANDOM, ema),
        optim_wrapper=still,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        **evaluated(),
    )
    seen = []
    hook = hook_of(runner, 'RearrangeHook')
    hook.before_val_iter = lambda runner, *args, **kwargs: seen.append(
        snapshot(runner.model)
    )
    runner.train()
    # Nothing was learnt: averaged and trained weights are the same.
    average = hook_of(runner, 'EMAHook').ema_model.module.state_dict()
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(average[name], value)
        torch.testing.assert_close(seen[-1][name], value)
    saved = torch.load(tmp_path / 'epoch_2.pth')
    for name, value in saved['state_dict'].items():
        torch.testing.assert_close(
            saved['ema_state_dict'][f'module.{name}'], value
        )


def test_an_order_of_nothing_is_not_called_rearranged(tmp_path, pretrained):
    # meta's `rearrangement`: None if the units are in stock order.
    path, _ = pretrained
    first = build(
        tmp_path / 'first',
        load_from=path,
        custom_hooks=[*hooks('NoCriterion'), META],
    )
    first.train()
    second = build(
        tmp_path / 'second',
        load_from=str(tmp_path / 'first' / 'epoch_3.pth'),
        custom_hooks=[*hooks(RANDOM), META],
    )
    assert moved(prepared(second), second.model)


def test_sorted_units_are_not_for_a_suffix(tmp_path, pretrained):
    path, _ = pretrained
    cfg = model_cfg()
    backbone = cfg['backbone']
    backbone['space'] = {**backbone['space'], 'suffix_smallest': True}
    runner = build(
        tmp_path, model=cfg, load_from=path, custom_hooks=hooks(RANDOM)
    )
    with pytest.raises(ValueError, match='suffix_smallest=True'):
        prepared(runner)


META = dict(type='eavit_mm.SupernetMetaHook')


def test_without_pretrained_weights_there_is_nothing_to_sort(tmp_path):
    runner = build(tmp_path, custom_hooks=hooks(RANDOM))
    with pytest.raises(ValueError, match='no pretrained weights were loaded'):
        runner.train()


def test_a_rearranged_file_of_init_cfg_is_left_alone(tmp_path, pretrained):
    meta = dict(eavit_mm=dict(rearrangement='TaylorCriterion'))
    path = tmp_path / 'sorted.pth'
    torch.save({**torch.load(pretrained[0]), 'meta': meta}, path)
    model = model_cfg(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    runner = build(tmp_path, model=model, custom_hooks=hooks(RANDOM))
    weights = prepared(runner)
    assert not moved(weights, runner.model)
    assert runner.message_hub.get_info(INFO) == 'TaylorCriterion'
    # Whoever asks reads nothing: it counts what was loaded.
    path.unlink()
    assert init_cfg_meta(runner.model) == meta['eavit_mm']
