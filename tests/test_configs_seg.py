"""Configs of segmentation: what they say, and two iterations of each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config, config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import VisionTransformer
from tool_runs import ROOT

import eavit_mm  # noqa: F401

CONFIGS = ROOT / 'configs'
VITB = CONFIGS / 'eavit_seg' / 'vitb_upernet_ade20k-512x512.py'
# Widths and sizes of the ViT-B recipe, and those of its tests.
SMALLER = {2048: 64, 1024: 64, 768: 24, 512: 32, 256: 32, 32: 8}
NARROW: dict[str, Any] = dict(
    arch=dict(
        embed_dims=24, num_layers=4, num_heads=6, feedforward_channels=48
    ),
    out_indices=[0, 1, 2, 3],
    img_size=32,
    patch_size=8,
    space=dict(
        embed_dims=[12, 24],
        num_heads=[2, 6],
        feedforward_channels=[16, 48],
        max_off=2,
    ),
)
WIDEST = dict(embed_dims=12, num_heads=2, feedforward_channels=16)
WIDEST = dict(WIDEST, max_off=2, p_off=0.3)


@pytest.fixture(autouse=True)
def of_mmseg(monkeypatch) -> Iterator[None]:
    # Half of the time of such runs is how their configs are laid out.
    monkeypatch.setattr(config, 'FormatCode', lambda text, **_: (text, True))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def draw(path: Path, largest: int | None, seed: int) -> None:
    """An image of 40 x 32 pixels, or labels up to the largest, or 255."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(32, 40, 3), dtype=np.uint8)
    if largest is not None:
        pixels = rng.integers(largest + 1, size=(4, 5)).repeat(8, 0)
        pixels = pixels.repeat(8, 1).astype(np.uint8)
        pixels[:2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


# The largest label, parts, and where an image and its masks lie.
LAYOUTS: dict[str, tuple[int, tuple[str, ...], str, tuple[str, ...]]] = dict(
    ade20k=(
        150,
        ('training', 'validation'),
        'images/{}/ADE_{}.jpg',
        ('annotations/{}/ADE_{}.png',),
    ),
    voc=(
        20,
        ('train', 'aug', 'val'),
        'JPEGImages/{}_{}.jpg',
        ('SegmentationClass/{}_{}.png', 'SegmentationClassAug/{}_{}.png'),
    ),
    cityscapes=(
        18,
        ('train', 'val'),
        'leftImg8bit/{}/aachen/aachen_{}_leftImg8bit.png',
        ('gtFine/{}/aachen/aachen_{}_gtFine_labelTrainIds.png',),
    ),
)


def write(root: Path, name: str) -> None:
    """Six images of each part, and lists of them, as VOC has."""
    largest, parts, image, masks = LAYOUTS[name]
    lists = root / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    for part in parts:
        for i in range(6):
            draw(root / image.format(part, i), None, i)
            for mask in masks:
                draw(root / mask.format(part, i), largest, i)
        lines = (f'{part}_{i}\n' for i in range(6))
        (lists / f'{part}.txt').write_text(''.join(lines))


def smaller(value: Any) -> Any:
    """A part of a config with smaller numbers, which waits for nothing."""
    if isinstance(value, dict):
        return {key: smaller(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(smaller, value))
    return SMALLER.get(value, value) if type(value) is int else value


def rooted(value: Any, root: Path) -> None:
    """Gives data sets their folder and splits a size that they have."""
    for key, part in value.items():
        if key == 'data_root':
            value[key] = str(root)
        elif key == 'parts':
            part['search'] = 2
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict):
                rooted(each, root)


def short(path: Path, folder: Path, root: Path, **changes: Any) -> Path:
    """A ViT-B config for two iterations of small networks and images."""
    cfg = Config.fromfile(path)
    cfg.model = smaller(cfg.model.to_dict())
    backbone = cfg.model.backbone
    backbone.update(NARROW)
    if backbone.init_cfg:
        sizes = {k: NARROW[k] for k in ('arch', 'img_size', 'patch_size')}
        stock = VisionTransformer(**sizes).state_dict()
        state = {f'backbone.{key}': value for key, value in stock.items()}
        backbone.init_cfg.checkpoint = str(folder / 'pretrained.pth')
        torch.save(state, backbone.init_cfg.checkpoint)
    for name in ('train', 'val', 'test'):
        loader = smaller(cfg[f'{name}_dataloader'].to_dict())
        loader.update(num_workers=0, persistent_workers=False)
        rooted(loader, root)
        cfg[f'{name}_dataloader'] = loader
    cfg.param_scheduler = []
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    for hook in cfg.custom_hooks:
        if 'levels' in hook:
            hook['levels'] = [dict(begin=0), dict(WIDEST, begin=1)]
        if 'warmup' in hook:
            hook.update(warmup=1, num_budgets=4)
    cfg.search_cfg.update(max_evaluations=3)
    cfg.merge_from_dict(changes)
    cfg.dump(folder / path.name)
    return folder / path.name


@pytest.mark.parametrize('name', ['voc', 'cityscapes'])
def test_two_iterations_on_a_layout(call, tmp_path, name):
    write(tmp_path / 'data', name)
    leaf = tmp_path / f'{name}.py'
    text = VITB.read_text().replace('ade20k', name)
    leaf.write_text(text.replace('../_base_', str(CONFIGS / '_base_')))
    heads = ('model.decode_head', 'model.auxiliary_head')
    classes = LAYOUTS[name][0] + 1
    numbers = {f'{head}.num_classes': classes for head in heads}
    crop = {'model.data_preprocessor.size': (32, 64)}
    changes = {**numbers, **(crop if name == 'cityscapes' else {})}
    (tmp_path / 'short').mkdir()
    cfg = short(leaf, tmp_path / 'short', tmp_path / 'data', **changes)
    call('train.py', cfg, '--work-dir', 'out', '--no-validate')
    assert (tmp_path / 'out' / 'iter_2.pth').exists()


def test_all_stages_on_ade20k(call, tmp_path):
    write(tmp_path / 'data', 'ade20k')
    stage1 = short(VITB, tmp_path, tmp_path / 'data')
    call('train.py', stage1, '--work-dir', '1', '--no-validate')
    call('search.py', stage1, '1/iter_2.pth', '--work-dir', 'search')
    front = json.loads((tmp_path / 'search' / 'pareto.json').read_text())
    assert front['metric'] == 'mIoU'
    changes = {
        'load_from': '1/iter_2.pth',
        'model.router.front': 'search/pareto.json',
    }
    leaf = VITB.with_stem(f'{VITB.stem}_stage2')
    stage2 = short(leaf, tmp_path, tmp_path / 'data', **changes)
    call('train.py', stage2, '--work-dir', '2')
    assert (tmp_path / '2' / 'iter_2.pth').exists()


def test_search_data_are_of_the_training_data():
    for name in ('ade20k', 'voc', 'cityscapes'):
        path = CONFIGS / '_base_' / 'datasets' / f'{name}_search.py'
        cfg = Config.fromfile(path)
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


def listed() -> list[dict[str, Any]]:
    path = CONFIGS / 'eavit_seg' / 'metafile.yml'
    models: list[dict[str, Any]] = yaml.safe_load(path.read_text())['Models']
    return models


@pytest.mark.parametrize('entry', listed(), ids=lambda entry: entry['Name'])
def test_the_index_counts_what_the_model_has(entry):
    cfg = Config.fromfile(ROOT / entry['Config'])
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    counts = entry['Metadata']
    assert counts['Parameters'] == model.params()['total']
    assert counts['FLOPs'] == model.macs()['total']
