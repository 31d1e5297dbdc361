"""ViT-B's leaves differ in their data, which they read as it is published."""

from copy import deepcopy
from math import ceil
from typing import Any

import pytest
import torch
import yaml
from cls_leaves import (
    CONFIGS,
    draw_folders,
    going_on,
    read,
    run,
    smaller_data,
)
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS
from test_datasets import flowers, published

from eavit_mm.engine.data_overlap import check_disjoint
from eavit_mm.space import Curriculum

# Images to train on, in all and after those of the search.
TRAINED = dict(
    cifar10=(50000, 48000),
    cifar100=(50000, 48000),
    svhn=(73257, 71257),
    flowers=(1020, 1020),
    food101=(75750, 73730),
    aircraft=(6667, 6167),
    cars=(8144, 7360),
    dtd=(1880, 1880),
    pets=(3680, 3310),
    pathmnist=(89996, 89996),
    dermamnist=(7007, 7007),
    isic2018=(10015, 9015),
    eurosat=(27000, 20600),
    resisc45=(31500, 24300),
)
BOTH_STAGES = ('flowers', 'pathmnist', 'eurosat')
LOADERS = ('train', 'val', 'test')
each_set = pytest.mark.parametrize('name', TRAINED)


def leaf(name: str, stage: str = '') -> Any:
    return read(f'eavit/vitb_{name}{stage}.py')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = published.write(tmp_path_factory.mktemp('data'))
    flowers.write(root / 'Flowers102', each=12)
    draw_folders(root / 'images')
    with published.other_sums():
        yield root


def but_for_the_data(cfg: Config, name: str) -> str:
    """A leaf as text, without its data and its name."""
    known = cfg.to_dict()
    classes = known['data_preprocessor'].pop('num_classes')
    assert known['model']['head'].pop('num_classes') == classes
    for key in LOADERS:
        loader = known[f'{key}_dataloader']
        data = loader.pop('dataset')
        loader['steps'] = [step['type'] for step in data['pipeline']]
        loader['steps'] = loader['steps'][-3:]
    for key in [key for key in known if key.endswith('_pipeline')]:
        del known[key]
    return repr(known).replace(f'vitb_{name}', 'vitb_flowers')


def test_every_set_is_here():
    found = {path.stem for path in CONFIGS.glob('eavit/vitb_*.py')}
    assert found == {
        f'vitb_{name}{stage}' for name in TRAINED for stage in ('', '_stage2')
    }


def test_the_index_has_them():
    text = (CONFIGS / 'eavit' / 'metafile.yml').read_text()
    found = {each['Name']: each for each in yaml.safe_load(text)['Models']}
    with (
        DefaultScope.overwrite_default_scope('mmpretrain'),
        torch.device('meta'),
    ):
        model = MODELS.build(leaf('flowers').model)
    for name in TRAINED:
        more = leaf(name).model.head.num_classes - 102
        counts = found[f'eavit_vitb_{name}']['Metadata']
        assert counts['Parameters'] == model.params()['total'] + 769 * more
        assert counts['FLOPs'] == model.macs()['total'] + 768 * more


@pytest.mark.parametrize('data', ['cifar10', 'folder'])
@pytest.mark.parametrize('network', ['vits', 'vitti'])
def test_the_index_has_smaller_networks(network, data):
    text = (CONFIGS / 'eavit' / 'metafile.yml').read_text()
    found = {each['Name']: each for each in yaml.safe_load(text)['Models']}
    with (
        DefaultScope.overwrite_default_scope('mmpretrain'),
        torch.device('meta'),
    ):
        model = MODELS.build(read(f'eavit/{network}_{data}.py').model)
    counts = found[f'eavit_{network}_{data}']['Metadata']
    assert counts['Parameters'] == model.params()['total']
    assert counts['FLOPs'] == model.macs()['total']


@each_set
def test_leaves_are_those_of_flowers(name):
    twin = but_for_the_data(leaf('flowers'), 'flowers')
    assert but_for_the_data(leaf(name), name) == twin
    second = leaf(name, '_stage2')
    steps = ceil(TRAINED[name][1] / 256)
    epochs = second.train_cfg.max_epochs
    assert second.custom_hooks[0].warmup * steps * epochs == pytest.approx(1e3)
    assert epochs == 100 + ceil(1000 / steps)
    begins = [each.begin for each in second.param_scheduler]
    assert begins == [epochs - 100, epochs - 95]


@each_set
def test_parts_are_read_in_the_published_format(name, data):
    """Each image once, in its class, its colours blue first."""
    cfg = leaf(name)
    parts = {}
    for key in LOADERS:
        loader = deepcopy(cfg[f'{key}_dataloader'])
        sizes = loader.dataset.get('parts', {})
        left = sum(size for size in sizes.values() if size)
        if key == 'train':
            assert TRAINED[name][1] == TRAINED[name][0] - left
        smaller_data(loader, data)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            parts[key] = built = DATASETS.build(loader.dataset)
        for sample in [built[i] for i in range(len(built))]:
            label = int(sample['data_samples'].gt_label)
            means = sample['inputs'].float().mean((1, 2)).flip(0)
            assert int(means.argmax()) == (label + (name == 'flowers')) % 3
            assert sample['inputs'].shape == (3, 32, 32)
    check_disjoint(parts)
    assert len(parts['val']) in (4, 12)
    classes = parts['test'].metainfo.get('classes')
    assert classes is None or len(classes) in (3, cfg.model.head.num_classes)


@each_set
def test_two_iterations(name, data, tmp_path):
    first = run(f'eavit/vitb_{name}.py', tmp_path / '1', data, num_layers=1)
    if name not in BOTH_STAGES:
        return  # test_configs_leaves.py: nothing in the second is new
    changes = going_on(first)
    name = f'eavit/vitb_{name}_stage2.py'
    second = run(name, tmp_path / '2', data, num_layers=1, **changes)
    before, after = (each.model.state_dict() for each in (first, second))
    assert not torch.equal(before['head.fc.bias'], after['head.fc.bias'])


@pytest.mark.parametrize('data_set', ['cifar10', 'folder'])
@pytest.mark.parametrize('network', ['vits', 'vitti'])
def test_two_iterations_of_smaller_networks(network, data_set, data, tmp_path):
    name = f'eavit/{network}_{data_set}'
    uniform = dict(type='eavit_mm.UniformSampler', _delete_=True)
    changes = {'model.sampler': uniform}  # vitti's own has the real widths
    one = dict(num_layers=1, **changes)
    first = run(f'{name}.py', tmp_path / '1', data, **one)
    one |= going_on(first)
    second = run(f'{name}_stage2.py', tmp_path / '2', data, **one)
    before, after = (each.model.state_dict() for each in (first, second))
    assert not torch.equal(before['head.fc.bias'], after['head.fc.bias'])


@pytest.mark.parametrize('base', ['ti', 's', 'l', 'siglip'])
def test_another_network_by_one_line(base, tmp_path):
    """Its curriculum reaches the whole of its own space."""
    path = CONFIGS / 'eavit' / 'vitb_flowers.py'
    text = path.read_text().replace('../_base_', str(CONFIGS / '_base_'))
    name = f'vit{base}_augreg' if len(base) < 3 else f'vitb_{base}'
    (tmp_path / 'leaf.py').write_text(text.replace('vitb_augreg', name))
    cfg = Config.fromfile(tmp_path / 'leaf.py')
    with (
        DefaultScope.overwrite_default_scope('mmpretrain'),
        torch.device('meta'),
    ):
        model = MODELS.build(cfg.model)
        model(torch.zeros(2, 3, 224, 224), mode='tensor')
    space = model.backbone.space
    curriculum = Curriculum(space, cfg.custom_hooks[1].levels, 100)
    assert curriculum.begins == [0, 10, 15, 20, 25, 30, 35]
    assert curriculum.levels[-1].box == space
