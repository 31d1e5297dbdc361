"""Configs of Scala: what they say, and two iterations of each."""

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
from mmpretrain.registry import MODELS
from test_datasets import idx

import eavit_mm  # noqa: F401
from eavit_mm.space import SearchSpace

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'scala'
LEAVES = [path.stem for path in sorted(FOLDER.glob('*.py'))]
CLASSIFIERS = [name for name in LEAVES if 'ade20k' not in name]
MINI = 'scala_vitmini_fashion40'


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
    rng, lines = np.random.default_rng(0), ''
    for i in range(4):
        name = f'n0144076{i}/{i}.JPEG'
        path = root / 'imagenet' / 'train' / name
        path.parent.mkdir(parents=True)
        pixels = rng.integers(256, size=(40, 48, 3), dtype=np.uint8)
        path.write_bytes(cv2.imencode('.jpg', pixels)[1].tobytes())
        lines += f'{name} {i}\n'
    (root / 'imagenet' / 'meta').mkdir()
    (root / 'imagenet' / 'meta' / 'train.txt').write_text(lines)
    return root


def short(cfg: Config, root: Path, work_dir: Path) -> Config:
    """One iteration of the largest alone and one of four networks."""
    backbone = cfg.model.backbone
    if isinstance(backbone.arch, str):
        E = max(backbone.space.embed_dims)
        sizes = dict(num_heads=E // 64, feedforward_channels=4 * E)
        arch = dict(embed_dims=E, num_layers=1, **sizes)
        backbone.update(arch=arch, img_size=32)
        cfg.optim_wrapper = dict(optimizer=cfg.optim_wrapper.optimizer)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        split, inner = loader.dataset, loader.dataset.dataset
        for step in split.pipeline:
            step.update({k: 32 for k, v in step.items() if v == 224})
        while 'dataset' in inner:
            inner = inner.dataset
        inner.data_root = str(root / Path(inner.data_root).name)
        split.parts.update(dict.fromkeys({*split.parts} - {'train'}, 2))
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
    entries = yaml.safe_load((FOLDER / 'metafile.yml').read_text())['Models']
    counts = {entry['Config']: entry['Metadata'] for entry in entries}
    found = counts.get(f'configs/scala/{name}.py')
    assert ('_no_' in name) == (found is None)  # an ablation is no model
    assert found is None or found == dict(
        Parameters=model.params()['total'], FLOPs=model.macs()['total']
    )
    space: SearchSpace = model.backbone.space
    number = int(name.rpartition('_x')[2]) if '_x' in name else 13
    ladder, largest = space.uniform_ladder, space.largest
    assert space.size() == len(ladder) == number
    heads = largest.num_heads[0]
    for subnet, i in zip(ladder, range(number), strict=True):
        # Ratios from a quarter to all, in equal steps.
        share = 1 + 3 * i / (number - 1)
        assert subnet.embed_dims == share * largest.embed_dims / 4
        assert subnet.head_dims * heads == subnet.embed_dims
        assert set(subnet.num_heads) == {heads}
        assert set(subnet.feedforward_channels) == {4 * subnet.embed_dims}
        is_last = not i and 'no_isolation' not in name
        assert subnet.side == ('suffix' if is_last else 'prefix')
    drawn = model.draw_subnets(0)
    assert len(drawn) == 4
    assert {drawn[0], drawn[-1]} == {largest, space.smallest}
    assert cfg.val_cfg.subnets == dict(
        quarter=0.25, half=0.5, three_quarters=0.75, largest=1.0
    )
    assert cfg.test_cfg.subnets == cfg.val_cfg.subnets


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
