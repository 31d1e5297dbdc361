"""Configs of Scala: what they say, and two iterations of each."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config, config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain import get_model
from mmpretrain.registry import MODELS
from test_datasets import idx

import eavit_mm.apis  # noqa: F401  knows the index
from eavit_mm.space import SearchSpace

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'scala'
LEAVES = [path.stem for path in sorted(FOLDER.glob('*.py'))]
CLASSIFIERS = [name for name in LEAVES if 'ade20k' not in name]
MINI = 'scala_vitmini_fashion40'
# Of 224 px and what is cropped to that.
SMALLER = {224: 32, 256: 37}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time would go into layout and the machine's names."""
    monkeypatch.setattr(config, 'FormatCode', lambda text, **_: (text, True))
    monkeypatch.setattr(Runner, '_log_env', lambda *_: None)


def load(name: str) -> Config:
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of each data set, in its format."""
    root = tmp_path_factory.mktemp('data')
    idx.write(root / 'fashion-mnist', compressed=True)
    rng = np.random.default_rng(0)
    for part in ('train', 'val'):
        lines = []
        for i in range(4):
            path = root / 'imagenet' / part / f'n0144076{i}' / f'{i}.JPEG'
            path.parent.mkdir(parents=True)
            pixels = rng.integers(256, size=(40, 48, 3), dtype=np.uint8)
            assert cv2.imwrite(str(path.with_suffix('.jpg')), pixels)
            path.with_suffix('.jpg').rename(path)
            lines.append(f'{path.parent.name}/{path.name} {i}\n')
        lists = root / 'imagenet' / 'meta' / f'{part}.txt'
        lists.parent.mkdir(exist_ok=True)
        lists.write_text(''.join(lines))
    return root


def short(cfg: Config, root: Path, work_dir: Path) -> Config:
    """One iteration of the largest alone and one of four networks."""
    backbone = cfg.model.backbone
    if isinstance(backbone.arch, str):
        E = max(backbone.space.embed_dims)
        sizes = dict(num_heads=E // 64, feedforward_channels=4 * E)
        backbone.update(
            arch=dict(embed_dims=E, num_layers=1, **sizes), img_size=32
        )
        cfg.optim_wrapper = dict(optimizer=cfg.optim_wrapper.optimizer)
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        parts = [loader.dataset, loader.dataset.get('dataset', {})]
        for part in parts:
            for step in part.get('pipeline', ()):
                numbers = {k: v for k, v in step.items() if type(v) is int}
                step.update({k: SMALLER.get(v, v) for k, v in numbers.items()})
            if 'data_root' in part:
                part.data_root = str(root / Path(part.data_root).name)
            if 'parts' in part:
                held = {name: 2 for name in part.parts if name != 'train'}
                part.parts.update(held)
    cfg.param_scheduler = []
    unit = 'epochs' if cfg.train_cfg.by_epoch else 'iters'
    cfg.train_cfg.update({f'max_{unit}': 2, 'val_interval': 2})
    cfg.default_hooks.checkpoint.interval = 1 + (work_dir.name != MINI)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    cfg.custom_hooks[-1]['levels'][-1].begin = 1
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir.name}_{len(str(work_dir))}'
    return cfg


def trained(cfg: Config) -> dict[str, torch.Tensor]:
    """The weights after a run."""
    Runner.from_cfg(cfg).train()
    (last,) = Path(cfg.work_dir).glob('*_2.pth')
    state: dict[str, torch.Tensor] = torch.load(last)['state_dict']
    return state


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_two_iterations_of_a_leaf(
    name: str, data: Path, tmp_path: Path
) -> None:
    cfg = short(load(name), data, tmp_path / name)
    if name != MINI:
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    state = trained(cfg)
    assert all(value.isfinite().all() for value in state.values())
    if name == MINI:  # once more, from the first iteration on
        (tmp_path / name / 'iter_2.pth').unlink()
        again = short(load(name), data, tmp_path / name)
        again.update(resume=True, experiment_name='again')
        again.load_from = str(tmp_path / name / 'iter_1.pth')
        for key, value in trained(again).items():
            assert torch.equal(value, state[key]), key


@pytest.mark.parametrize('name', LEAVES)
def test_networks_are_those_of_scala(name: str) -> None:
    cfg = load(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    space: SearchSpace = model.backbone.space
    number = int(name.rpartition('_x')[2]) if '_x' in name else 13
    ladder, largest = space.uniform_ladder, space.largest
    assert space.size() == len(ladder) == number
    assert {number} <= {4, 7, 13, 25}
    heads = largest.num_heads[0]
    for subnet, i in zip(ladder, range(number), strict=True):
        # Ratios from a quarter to all, in equal steps.
        share = 1 + 3 * i / (number - 1)
        assert subnet.embed_dims == share * largest.embed_dims / 4
        assert subnet.head_dims * heads == subnet.embed_dims
        assert set(subnet.num_heads) == {heads}
        hidden = {4 * subnet.embed_dims}
        assert set(subnet.feedforward_channels) == hidden
        is_last = not i and 'no_isolation' not in name
        assert subnet.side == ('suffix' if is_last else 'prefix')
    drawn = model.draw_subnets(0)
    assert len(drawn) == 4
    assert {drawn[0], drawn[-1]} == {largest, space.smallest}
    assert cfg.val_cfg.subnets == dict(
        quarter=0.25, half=0.5, three_quarters=0.75, largest=1.0
    )
    assert cfg.test_cfg.subnets == cfg.val_cfg.subnets
    for low, high in pairwise(cfg.val_cfg.subnets.values()):
        assert space.uniform(low) != space.uniform(high)


def listed() -> list[dict[str, Any]]:
    text = (FOLDER / 'metafile.yml').read_text()
    models: list[dict[str, Any]] = yaml.safe_load(text)['Models']
    return models


def test_the_index_has_every_leaf_and_counts_it() -> None:
    found = {entry['Name']: entry['Metadata'] for entry in listed()}
    assert set(found) == {name for name in LEAVES if '_no_' not in name}
    for name, counts in found.items():
        with torch.device('meta'):
            model = get_model(name)
        assert Path(model._config.filename).stem == name
        assert counts['Parameters'] == model.params()['total']
        assert counts['FLOPs'] == model.macs()['total']


# Magnitude of RandAugment, epochs, warm-up, learning rate at 512 images.
RECIPES = {
    'scala_vits_in1k': (1, 100, 3, 2e-3, 1024),
    'scala_vitb_in1k': (4, 300, 5, 1e-3, 512),
}


@pytest.mark.parametrize('name', RECIPES)
def test_the_recipe_is_that_of_the_release(name: str) -> None:
    cfg = load(name)
    magnitude, epochs, warmup, rate, batch = RECIPES[name]
    steps: dict[str, Any] = {
        step['type']: step for step in cfg.train_dataloader.dataset.pipeline
    }
    assert steps['RandAugment'].magnitude_level == magnitude
    assert steps['RandomErasing'].erase_prob == 0.25
    assert cfg.train_cfg.max_epochs == epochs
    first, second = cfg.param_scheduler
    assert first.end == second.begin == warmup
    assert cfg.optim_wrapper.optimizer.lr * 512 / batch == rate
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert 'clip_grad' not in cfg.optim_wrapper
    assert 4 * cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.model.backbone.drop_path_rate == 0.1
    alphas = {mix.type: mix.alpha for mix in cfg.model.train_cfg.augments}
    assert alphas == dict(Mixup=0.8, CutMix=1.0)
    average, curriculum = cfg.custom_hooks
    assert 1 - average.momentum == pytest.approx(0.99996)
    assert [level.begin for level in curriculum.levels] == [0, 10]
