"""The accuracy benchmark: configs, costs, records and the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from test_datasets.idx import idx, names

from benchmarks import accuracy
from benchmarks.cost import FORWARD, training_cost, with_cost, with_length
from benchmarks.methods import (
    ADAPTED,
    DEFAULT,
    DENSE,
    LISTED,
    METHODS,
    REGIMES,
    Method,
    method_config,
    method_configs,
)
from eavit_mm.space import Curriculum

PASSES = 2_000


def model_of(cfg: Any) -> Any:
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def share(model: Any, subnet: Any) -> float:
    return model.macs(subnet)['total'] / model.macs()['total']


@pytest.mark.parametrize(
    ('name', 'regime'),
    [*((name, 'fashion40') for name in METHODS), (DEFAULT, 'fashion40_small')],
)
def test_every_method_builds(name: str, regime: str) -> None:
    first, *others = method_configs(METHODS[name], regime, seed=3)
    cfg = [first, *others][-1]
    assert cfg.randomness.seed == first.randomness.seed == 3
    # What is evaluated is in the space, and starts from the same weights.
    for phase in (first, *others):
        space = model_of(phase).backbone.space
        for fields in phase.test_cfg.subnets.values():
            assert space.contains(space.resolve(fields))
    assert {*cfg.test_cfg.subnets} == {*METHODS[name].subnets}
    init_cfg = first.model.backbone.get('init_cfg', {})
    is_scratch = name.startswith(('scala', 'apart')) and name != ADAPTED
    found = init_cfg.get('checkpoint', '')
    assert found.endswith('' if is_scratch else 'fashion.pth')
    assert bool(found) != is_scratch
    assert all(other.model.backbone.init_cfg is None for other in others)
    assert cfg.train_dataloader.dataset.part == 'train'
    parts = cfg.train_dataloader.dataset.parts
    assert (parts['train'] == 2000) == (regime == 'fashion40_small')


@pytest.mark.parametrize('name', ['100%', '5%'])
def test_a_dense_network_trains_alone(name: str) -> None:
    cfg = accuracy.run_config(f'dense {name}', 'fashion40', 0)
    model = model_of(cfg)
    subnet = model.backbone.space.resolve(DENSE[name])
    assert {tuple(model.draw_subnets(i)) for i in range(20)} == {(subnet,)}
    # As many passes as the others' budget, each of a smaller network.
    passes = cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size
    assert passes == pytest.approx(accuracy.PASSES, rel=1e-3)
    cost = training_cost(cfg)
    assert cost == pytest.approx(passes * share(model, subnet))


@pytest.mark.parametrize('name', [DEFAULT, 'no curriculum'])
def test_methods_cost_the_same(name: str) -> None:
    (cfg,) = with_cost(method_configs(METHODS[name], 'fashion40', 1), PASSES)
    assert training_cost(cfg) == pytest.approx(PASSES, rel=0.01)
    # Schedules end with the training; every level is reached.
    ends = [schedule['end'] for schedule in cfg.param_scheduler]
    assert max(ends) == cfg.train_cfg.max_iters
    for hook in cfg.custom_hooks:
        for level in hook.get('levels', []):
            assert level['begin'] < cfg.train_cfg.max_iters


def test_the_cost_of_phases_with_teachers_by_hand() -> None:
    """DynaBERT's: every network of a step, and the teacher's forward."""
    cfgs = method_configs(METHODS['dynabert'], 'fashion40', 0)
    short = list(map(with_length, cfgs, (4, 2, 2)))
    model = model_of(cfgs[-1])
    networks = map(model.backbone.space.resolve, LISTED.values())
    costs = [share(model, network) for network in networks]
    steps = 1.0, FORWARD + sum(costs[:4]), FORWARD + sum(costs)
    batch = cfgs[0].train_dataloader.batch_size
    found = [training_cost(cfg) / batch for cfg in short]
    assert found == pytest.approx([4 * steps[0], 2 * steps[1], 2 * steps[2]])
    longer = with_cost(short, 50_000)
    total = sum(map(training_cost, longer))
    assert total == pytest.approx(50_000, rel=0.01)
    long = [cfg.train_cfg.max_iters for cfg in longer]
    assert long[0] == pytest.approx(2 * long[1], rel=0.05)
    assert long[1] == long[2]


def test_the_cost_of_a_run_by_hand() -> None:
    """Every level, every draw, the teacher's forward where it runs."""
    taught = {
        'model.distillation': dict(type='eavit_mm.InPlaceDistillation'),
        'model.sampler': dict(
            type='eavit_mm.LadderSampler', num=2, _delete_=True
        ),
    }
    cfg = method_config(Method(options=taught), 'fashion40', 0)
    cfg = with_length(cfg, 50)
    levels = cfg.custom_hooks[1]['levels']
    levels[1]['begin'], levels[2]['begin'] = 10, 20
    model = model_of(cfg)
    hub = MessageHub.get_current_instance()
    hub.update_info('seed', cfg.randomness.seed)
    curriculum = Curriculum(model.backbone.space, levels)
    begins = zip(curriculum.begins, curriculum.levels, strict=True)
    model.levels = list(begins)
    total = 0.0
    for iteration in range(50):
        drawn = model.draw_subnets(iteration)
        total += sum(share(model, subnet) for subnet in drawn)
        total += FORWARD * (model.backbone.space.largest not in drawn)
        if iteration < 10:
            assert set(drawn) == {model.backbone.space.largest}
    batch = cfg.train_dataloader.batch_size
    assert training_cost(cfg) == pytest.approx(batch * total)


def test_regimes_are_nested_and_keep_off_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many images as the real data set has, of one pixel each.
    monkeypatch.setattr(np, 'rot90', lambda image, turns: image)
    images, labels = (tmp_path / name for name in names('train'))
    images.write_bytes(idx(np.zeros((60_000, 1, 1), np.uint8)))
    labels.write_bytes(idx(np.zeros(60_000, np.uint8)))
    ids = {}
    cfgs = [method_config(METHODS['hydravit'], r, 0) for r in REGIMES]
    large, small = cfgs
    init_default_scope(large.default_scope)
    for name, loader in dict(
        search=large.val_dataloader,
        small_search=small.val_dataloader,
        large=large.train_dataloader,
        small=small.train_dataloader,
    ).items():
        source = loader.dataset.dataset
        source.update(data_root=str(tmp_path), serialize_data=False)
        data = DATASETS.build(loader.dataset)
        found = [data.get_data_info(i)['sample_id'] for i in range(len(data))]
        ids[name] = set(found)
        assert len(ids[name]) == len(found)
    assert ids['small'] < ids['large']
    assert (len(ids['small']), len(ids['large'])) == (2000, 28000)
    assert not ids['search'] & ids['large']
    assert ids['search'] == ids['small_search']


def test_records_replace_each_other(tmp_path: Path) -> None:
    path = tmp_path / 'records.json'
    keys = [('b', 0, 'x'), ('a', 1, 'x'), ('a', 0, 'x'), ('a', 1, 'new')]
    for method, seed, code in keys:
        one = dict(method=method, regime='fashion40', seed=seed, hash=code)
        accuracy.add_record(one, path)
    found = accuracy.read_records(path)
    assert [(r['method'], r['seed'], r['hash']) for r in found] == [
        ('a', 0, 'x'),
        ('a', 1, 'new'),
        ('b', 0, 'x'),
    ]


def test_committed_records_are_of_todays_configs() -> None:
    """A number whose config has changed since is no evidence."""
    for found in accuracy.read_records():
        method, lengths = METHODS[found['method']], found['iterations']
        lengths = lengths if isinstance(lengths, list) else [lengths]
        cfgs = method_configs(method, found['regime'], found['seed'])
        cfgs = list(map(with_length, cfgs, lengths))
        assert accuracy.run_hash(cfgs) == found['hash'], found['method']
        if method.images is None:
            assert found['passes'] == pytest.approx(accuracy.PASSES, rel=0.01)


def test_a_config_has_one_hash_wherever_it_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = method_config(METHODS[DEFAULT], 'fashion40', 0)
    here = accuracy.config_hash(cfg)
    other = '/a/longer/path/' + 'to/' * 30 + 'eavit_mm'
    text = json.dumps(cfg.to_dict())
    assert str(accuracy.ROOT) in text
    moved = Config(json.loads(text.replace(str(accuracy.ROOT), other)))
    monkeypatch.setattr(accuracy, 'ROOT', other)
    assert accuracy.config_hash(moved) == here
    moved.default_hooks.logger.interval = 7  # shows in no number
    assert accuracy.config_hash(moved) == here
    moved.optim_wrapper.optimizer.lr *= 2
    others = [method_config(METHODS[name], 'fashion40', 0) for name in METHODS]
    codes = {accuracy.config_hash(each) for each in (moved, *others)}
    assert len(codes) == len(METHODS) + 1
