"""Configs of segmentation: what they say, and two iterations of each."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmengine.config import Config, config
from mmengine.hub import get_config
from mmengine.registry import DATASETS, DefaultScope
from mmpretrain import get_model
from seg_leaves import (
    CONFIGS,
    FIRST,
    LAYOUTS,
    SCALA,
    SECOND,
    VITB,
    layout_of,
    rooted,
    second,
    short,
    write,
)
from tool_runs import ROOT

import eavit_mm.apis  # noqa: F401  knows the index
from eavit_mm.datasets.samples import samples_of


@pytest.fixture(autouse=True)
def of_mmseg(monkeypatch) -> Iterator[None]:
    # Two thirds of the time of such runs would go into what earlier ones left,
    # which every data set looks through, and the layout of their configs.
    gc.freeze()
    monkeypatch.setattr(config, 'FormatCode', lambda text, **_: (text, True))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.mark.parametrize('leaf', [*FIRST, SCALA], ids=lambda path: path.stem)
def test_two_iterations_of_a_leaf(call, tmp_path, leaf):
    """Trained and validated; of each kind searched, and with a router."""
    write(tmp_path / 'data', layout_of(leaf))
    stage1 = short(leaf, tmp_path, tmp_path / 'data')
    call('train.py', stage1, '--work-dir', '1')
    assert (tmp_path / '1' / 'iter_2.pth').exists()
    if second(leaf) not in SECOND:
        return  # test_configs_leaves.py: nothing in it is new
    call('search.py', stage1, '1/iter_2.pth', '--work-dir', 'search')
    front = json.loads((tmp_path / 'search' / 'pareto.json').read_text())
    is_medical = layout_of(leaf).largest == 1
    assert front['metric'] == ('mDice' if is_medical else 'mIoU')
    changes = {
        'load_from': '1/iter_2.pth',
        'model.router.front': 'search/pareto.json',
    }
    stage2 = short(second(leaf), tmp_path, tmp_path / 'data', **changes)
    call('train.py', stage2, '--work-dir', '2', '--no-validate')
    before, after = (
        torch.load(tmp_path / stage / 'iter_2.pth')['state_dict']
        for stage in ('1', '2')
    )
    moved = {
        key.partition('.')[0]
        for key, weight in before.items()
        if not torch.equal(weight, after[key])
    }
    assert 'decode_head' in moved
    assert ('backbone' in moved) == ('linear' not in leaf.stem)


def test_stock_bases_become_elastic(call, tmp_path):
    """As the page says it."""
    page = (VITB.parent / 'README.md').read_text()
    text = page.split('```python\n')[1].split('```')[0]
    leaf = tmp_path / 'mine.py'
    leaf.write_text(text.replace('../_base_', str(CONFIGS / '_base_')))
    # Potsdam's lie in such folders, with one class less.
    write(tmp_path / 'data', LAYOUTS['loveda']._replace(largest=6))
    (tmp_path / 'short').mkdir()
    cfg = short(leaf, tmp_path / 'short', tmp_path / 'data')
    call('train.py', cfg, '--work-dir', '1')
    assert (tmp_path / '1' / 'iter_2.pth').exists()


def base_of(name: str) -> Config:
    return Config.fromfile(CONFIGS / '_base_' / 'datasets' / f'{name}.py')


@pytest.mark.parametrize('name', ['ade20k', 'voc', 'cityscapes', 'loveda'])
def test_search_data_are_of_the_training_data(name):
    cfg = base_of(f'{name}_search')
    train = cfg.train_dataloader.dataset
    train = train.datasets[0] if 'datasets' in train else train
    search, test = cfg.val_dataloader.dataset, cfg.test_dataloader.dataset
    assert (train.part, search.part) == ('train', 'search')
    assert train.dataset == search.dataset
    assert train.parts == search.parts
    for data, steps in (
        (train, cfg.train_pipeline),
        (search, cfg.test_pipeline),
        (test, cfg.test_pipeline),
    ):
        kinds = [step.type for step in steps]
        assert [step.type for step in data.pipeline] == kinds
    assert test.data_prefix != train.dataset.data_prefix or (
        test.ann_file != train.dataset.ann_file
    )


@pytest.mark.parametrize('name', ['chase-db1', 'drive'])
def test_search_images_of_few_are_the_last(tmp_path, name):
    """Of CHASE-DB1 those of other children than are trained on."""
    write(tmp_path, LAYOUTS[name])
    cfg = base_of(f'{name.replace("-", "_")}_search')
    rooted(cfg, tmp_path)
    found = {}
    for part in ('train', 'val', 'test'):
        data = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
        paths = [Path(info['img_path']) for info in samples_of(data)]
        found[part] = [str(path.relative_to(tmp_path)) for path in paths]
    image = LAYOUTS[name].image
    images = [image.format('training', i) for i in range(20)]
    assert found['train'] + found['val'] == images
    assert len(found['val']) == 4
    assert found['test'] == [image.format('validation', i) for i in range(20)]


def test_the_recipe_is_that_of_mmseg():
    ours = Config.fromfile(VITB)
    theirs = get_config(
        'mmseg::vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512.py'
    )
    assert ours.train_cfg.max_iters == theirs.train_cfg.max_iters
    assert (
        ours.train_dataloader.batch_size == theirs.train_dataloader.batch_size
    )
    for name in ('type', 'lr', 'weight_decay'):
        mine = ours.optim_wrapper.optimizer[name]
        assert mine == theirs.optim_wrapper.optimizer[name]
    schedules = zip(ours.param_scheduler, theirs.param_scheduler, strict=True)
    for mine, other in schedules:
        assert all(other[key] == value for key, value in mine.items())
    assert ours.model.auxiliary_head.loss_decode.loss_weight == 0.4
    taken = ('in_channels', 'channels', 'in_index', 'num_classes')
    for head in ('decode_head', 'auxiliary_head'):
        for name in taken:
            assert ours.model[head][name] == theirs.model[head][name]


@pytest.mark.parametrize(
    'leaf', [p for p in FIRST if 'vitb' in p.stem], ids=lambda path: path.stem
)
def test_the_router_alone_trains_at_its_own_rate(leaf):
    """The warm-up of the network begins where it trains."""
    cfg = Config.fromfile(second(leaf))
    (hook,), (own, network, _) = cfg.custom_hooks, cfg.param_scheduler
    assert own.end < 0.1 * hook.warmup
    assert network.begin == hook.warmup
    length = Config.fromfile(leaf).param_scheduler[0].end
    assert network.end - network.begin == length


def listed() -> list[dict[str, Any]]:
    path = CONFIGS / 'eavit_seg' / 'metafile.yml'
    models: list[dict[str, Any]] = yaml.safe_load(path.read_text())['Models']
    return models


def test_every_leaf_is_in_the_index():
    stems = {Path(entry['Config']).stem for entry in listed()}
    leaves = {path.stem for path in VITB.parent.glob('*.py')}
    left_out = ('_stage2', '_dense')  # a control is no model of its own
    assert stems == {stem for stem in leaves if not stem.endswith(left_out)}


@pytest.mark.parametrize('entry', listed(), ids=lambda entry: entry['Name'])
def test_the_index_counts_what_the_model_has(entry):
    cfg = Config.fromfile(ROOT / entry['Config'])
    with torch.device('meta'):
        model = get_model(entry['Name'])
    assert model._config.filename == cfg.filename
    counts = entry['Metadata']
    assert counts['Parameters'] == model.params()['total']
    assert counts['FLOPs'] == model.macs()['total']
