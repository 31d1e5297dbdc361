"""Every leaf trains in a test, or has nothing that a trained one has not."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from cls_leaves import (
    CONFIGS,
    draw_folders,
    going_on,
    read,
    run,
    smaller_data,
)
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from seg_leaves import FIRST, SCALA, SECOND
from test_configs_baselines import OTHERS, SETS
from test_configs_scala import CLASSIFIERS
from test_configs_vitb import BOTH_STAGES, TRAINED
from test_datasets import idx

LEAVES = sorted(
    str(path.relative_to(CONFIGS).with_suffix(''))
    for path in CONFIGS.glob('*/*.py')
    if not path.parent.name.startswith('_')
)
# Trained below, however many there are.
MINI = [name for name in LEAVES if re.match(r'(eavit|vit).*/vitmini_', name)]
STAGES = '', '_stage2'
UNTRAINED = 'snapvit/vitti_photos'  # its method trains nothing
SIDE = 64  # pixels of a ViT-Ti's image
# Images of a class and their number: of a folder, as its pack has them.
OF_A_SET = r'data_preprocessor\.num_classes|model\.head\.num_classes|'
OF_A_SET += r'(val|test)_dataloader\.dataset\.parts\.(search|test|unused)'
# A second stage of the paper's recipe lasts longer where images are few.
LENGTHS = r'train_cfg\.max_epochs|custom_hooks\.0\.warmup|'
LENGTHS += r'param_scheduler\.\d\.(begin|end)'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    idx.write(root / 'fashion-mnist', compressed=False)
    for name in (*OTHERS, 'flowers89'):
        draw_folders(root / name)
    return root


def trained() -> set[str]:
    """What the tests of configs train; those beside this name the same."""
    kinds = {f'{m}_{{}}' for m in ('hydravit', 'matformer', 'dense')}
    for method in ('dynabert', 'flextron'):
        kinds |= {f'{method}_{{}}', f'{method}_{{}}_phase2'}
    found = {
        f'baselines/{kind.format(name)}' for kind in kinds for name in SETS
    }
    found |= {f'eavit/vitb_{name}' for name in TRAINED}
    both = {f'vitb_{name}' for name in BOTH_STAGES} | {'vitti_flowers89'}
    for network in ('vits', 'vitti'):
        both |= {f'{network}_cifar10', f'{network}_folder'}
    found |= {f'eavit/{name}{stage}' for name in both for stage in STAGES}
    found |= {f'eavit_seg/{path.stem}' for path in (*FIRST, *SECOND)}
    found |= {f'scala/{name}' for name in (*CLASSIFIERS, SCALA.stem)}
    return found | set(MINI)


# How a stage trains; model and data are all the rest.
TRAINING = r'model\.(router|backbone\.init_cfg)|custom_hooks|param_scheduler|'
TRAINING += r'train_cfg|max_iters|optim_wrapper|load_from|stage1'


def twins(name: str) -> tuple[list[str], str]:
    """Trained leaves that together have all values of one, but for some keys.

    A second stage has the model and data of its first, which stands first, and
    trains as that of another set.
    """
    if found := re.search(f'vitti_({"|".join(OTHERS)})', name):
        return [name.replace(found[1], 'flowers89')], OF_A_SET
    first = name.removesuffix('_stage2')
    if first == name:
        return [], ''
    if name.startswith('eavit/vitb_'):
        return [first, 'eavit/vitb_flowers_stage2'], LENGTHS
    for kind, other in dict(
        vitb_upernet='vitb_upernet_loveda-512x512',
        vitb8_fpn='vitb8_fpn_chase-db1-128x128',
        vitti='vitti_camvid',
    ).items():
        if name.startswith(f'eavit_seg/{kind}'):
            return [first, f'eavit_seg/{other}_stage2'], ''
    return [], ''


def test_every_leaf_is_trained_or_has_trained_twins():
    done = trained()
    assert done <= {*LEAVES}
    seconds = {name for name in MINI if name.endswith('_stage2')}
    assert {name.removesuffix('_stage2') for name in seconds} <= {*MINI}
    left = [name for name in LEAVES if name not in done | {UNTRAINED}]
    alone = [name for name in left if not done.issuperset(twins(name)[0])]
    alone += [name for name in left if not twins(name)[0]]
    assert not alone, f'{alone}: train them, or name a trained twin'
    for name in left:
        known, allowed = twins(name)
        own = values(name, name)
        others = [values(twin, name) for twin in known]
        for key in set().union(own, *others):
            other = others[-1 if re.match(TRAINING, key) else 0]
            found = own.get(key, 'no'), other.get(key, 'no')
            same = found[0] == found[1]
            assert same or re.fullmatch(allowed, key), (name, key, found)


@cache
def flat(name: str) -> dict[str, Any]:
    return dict(items(read(f'{name}.py').to_dict(), ''))


def items(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Each value of a config that holds no others, by its dotted key."""
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    if not parts:
        yield place, value
    for key, part in parts:
        yield from items(part, f'{place}.{key}' if place else str(key))


def values(name: str, of: str) -> dict[str, Any]:
    """Those of a leaf, as if its data set were called as another's."""
    old, new = (
        re.sub('_(stage|phase)2$', '', each).rpartition('_')[2]
        for each in (name, of)
    )
    return {
        key: value.replace(old, new) if isinstance(value, str) else value
        for key, value in flat(name).items()
    }


@pytest.mark.parametrize('name', LEAVES)
def test_its_optimizer_and_schedule_build(name):
    cfg = read(f'{name}.py')
    if name == UNTRAINED:
        assert not cfg.get('param_scheduler')
        return
    train = cfg.train_cfg
    unit = 'max_epochs' if train.by_epoch else 'max_iters'
    weights = [torch.nn.Parameter(torch.ones(1))]
    kind = dict(cfg.optim_wrapper.optimizer, params=weights)
    optimizer = OPTIMIZERS.build(kind)
    whole = optimizer.param_groups[0]['lr']
    assert cfg.param_scheduler
    built = [
        PARAM_SCHEDULERS.build(
            {'end': train[unit], **part},
            default_args=dict(optimizer=optimizer, epoch_length=9),
        )
        for part in cfg.param_scheduler
    ]
    for _ in range(2):
        weights[0].grad = torch.ones(1)
        optimizer.step()
        for part in built:
            part.step()
    assert 0 < optimizer.param_groups[0]['lr'] <= whole


def first_batch(loader: Any, root: Path) -> dict[str, Any]:
    """Of a config's data, in a folder of few."""
    loader = deepcopy(loader)
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader.collate_fn = dict(type='default_collate')
    smaller_data(loader, root)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = Runner.build_dataloader(loader, seed=0)
        return next(iter(built))


@pytest.mark.parametrize('name', OTHERS)
def test_folders_of_the_other_sets_are_read(name, data):
    of_set, of_first = (
        [leaf for leaf in LEAVES if f'vitti_{each}' in leaf]
        for each in (name, 'flowers89')
    )
    assert len(of_set) == len(of_first) > 5
    for leaf in of_set:
        cfg = read(f'{leaf}.py')
        classes = cfg.model.head.num_classes
        assert cfg.data_preprocessor.num_classes == classes
        for key in ('train', 'val', 'test'):
            batch = first_batch(cfg[f'{key}_dataloader'], data)
            assert batch['inputs'].shape == (4, 3, SIDE, SIDE)
            labels = {int(each.gt_label) for each in batch['data_samples']}
            assert labels <= {0, 1}


def test_what_is_not_trained_reads_a_batch_and_is_judged(data, tmp_path, call):
    cfg = deepcopy(read(f'{UNTRAINED}.py'))
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    for key in ('train', 'val', 'test'):
        batch = first_batch(cfg[f'{key}_dataloader'], data)
        inputs = model.data_preprocessor(batch)['inputs']
        with torch.no_grad():
            found = model(inputs, mode='tensor')
        assert found.shape == (4, 192)
    checkpoint = tmp_path / 'random.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    roots = [
        f'{part}_dataloader.dataset.data_root={data}/flowers89'
        for part in ('train', 'test')
    ]
    config = CONFIGS / f'{UNTRAINED}.py'
    call('test.py', config, checkpoint, '--cfg-options', *roots)
    (path,) = tmp_path.rglob('subnets.json')
    rows = json.loads(path.read_text())['subnets']
    assert [row['name'] for row in rows] == ['largest', 'half', 'smallest']
    assert all('embedding/knn' in row['metrics'] for row in rows)


@pytest.mark.parametrize(
    'name', [name for name in MINI if not name.endswith('_stage2')]
)
def test_two_iterations_of_a_small_network(name, data, tmp_path):
    """And of its second stage, if it has one."""
    few: dict[str, Any] = {}
    if read(f'{name}.py').train_cfg.by_epoch:  # an epoch has four images
        few = {'train_cfg.max_epochs': 2}
        if name.startswith('eavit_seg/'):
            few['train_dataloader.dataset.number'] = 4
        else:
            few['train_dataloader.dataset.parts'] = dict(train=4, unused=None)
    first = run(f'{name}.py', tmp_path / '1', data, **few)
    states = [first.model.state_dict()]
    if f'{name}_stage2' in MINI:
        few |= going_on(first)
        second = run(f'{name}_stage2.py', tmp_path / '2', data, **few)
        states.append(second.model.state_dict())
    assert first.iter == 2
    for state in states:
        assert all(weight.isfinite().all() for weight in state.values())
    heads = [key for key in states[0] if re.search('head.*bias', key)]
    for key in heads * (len(states) > 1):
        assert not torch.equal(states[0][key], states[1][key])
