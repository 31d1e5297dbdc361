"""A toy run: eight-pixel images of three classes, trained for seconds."""

import itertools
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Dataset
from toys import randomise as randomise
from toys import snapshot as snapshot

import eavit_mm  # noqa: F401

CLASSES = 3
SPACE = dict(
    embed_dims=[4, 8, 12],
    num_heads=[1, 2, 3],
    feedforward_channels=[5, 10],
    max_off=1,
)
# Levels that reach SPACE.
WIDEST = dict(
    embed_dims=4, num_heads=1, feedforward_channels=5, max_off=1, p_off=0.5
)
_number = itertools.count()


@DATASETS.register_module()
class ToyImages(Dataset):
    """Images (1, 8, 8) with a bright column that tells the class.

    Every third label is wrong, so that no network gets all of them right.
    """

    metainfo = dict(classes=tuple('abc'))

    def __init__(self, size: int = 12, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(CLASSES, size=size)
        self.images = rng.standard_normal((size, 1, 8, 8)).astype(np.float32)
        for image, label in zip(self.images, self.labels, strict=True):
            image[:, :, 2 * label] += 2
        self.labels[::3] = rng.integers(CLASSES, size=len(self.labels[::3]))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = DataSample().set_gt_label(int(self.labels[index]))
        sample.set_field(index, 'index', field_type='metainfo')
        return dict(
            inputs=torch.from_numpy(self.images[index]), data_samples=sample
        )


@HOOKS.register_module()
class Recorder(Hook):
    """Notes what each training step starts with."""

    priority = 'LOWEST'
    notes: list[dict[str, Any]]

    def __init__(self) -> None:
        self.notes = []

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        model = runner.model
        self.notes.append(
            dict(
                epoch=runner.epoch,
                iter=runner.iter,
                box_level=box_level(model, runner.iter),
                level=logged_level(runner),
                data=[s.index for s in data_batch['data_samples']],
                rng=torch.get_rng_state(),
                numpy=np.random.get_state()[1].copy(),  # noqa: NPY002
            )
        )


@FUNCTIONS.register_module()
def flip_twice(batch: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch as it is and flipped, as TestTimeAug makes it."""
    x = torch.stack([sample['inputs'] for sample in batch])
    samples = [sample['data_samples'] for sample in batch]
    return dict(
        inputs=[x, x.flip(3)], data_samples=[samples, deepcopy(samples)]
    )


def box_level(model: Any, iteration: int) -> Any:
    """What draws keep to; None for a stock network."""
    at = getattr(model, 'level_at', None)
    return None if at is None else at(iteration)


def logged_level(runner: Runner) -> float | None:
    scalars = runner.message_hub.log_scalars
    buffer = scalars.get('train/level')
    return None if buffer is None else buffer.current()


def model_cfg(**changes: Any) -> dict[str, Any]:
    cfg: dict[str, Any] = dict(
        type='eavit_mm.ElasticImageClassifier',
        data_preprocessor=dict(num_classes=CLASSES, mean=[0.1], std=[1.1]),
        backbone=dict(
            type='eavit_mm.ElasticVisionTransformer',
            arch=dict(
                embed_dims=12,
                num_layers=2,
                num_heads=3,
                feedforward_channels=10,
            ),
            img_size=8,
            patch_size=4,
            in_channels=1,
            space=SPACE,
        ),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=12),
    )
    cfg.update(changes)
    return cfg


def stock_cfg() -> dict[str, Any]:
    """The same network as mmpretrain has it."""
    cfg = model_cfg(type='ImageClassifier')
    cfg['backbone'] = {**cfg['backbone'], 'type': 'VisionTransformer'}
    del cfg['backbone']['space']
    return cfg


def loader(size: int = 12, seed: int = 0, **changes: Any) -> dict[str, Any]:
    cfg: dict[str, Any] = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyImages', size=size, seed=seed),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    cfg.update(changes)
    return cfg


def config(work_dir: Path, **changes: Any) -> Config:
    """A run of three epochs of three steps, without validation."""
    cfg: dict[str, Any] = dict(
        default_scope='mmpretrain',
        # Runners of one second share a message hub if they share a name.
        experiment_name=f'toy{next(_number)}',
        work_dir=str(work_dir),
        model=model_cfg(),
        train_dataloader=loader(),
        train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1000),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        default_hooks=dict(
            logger=None,
            checkpoint=dict(type='CheckpointHook', interval=1),
        ),
        custom_hooks=[dict(type='Recorder')],
        randomness=dict(seed=3),
        log_level='WARNING',
    )
    cfg.update(changes)
    return Config(deepcopy(cfg))


def evaluated(**cfg: Any) -> dict[str, Any]:
    """What a config needs to validate and test with our loops."""
    data = loader(20, seed=1, sampler=dict(type='DefaultSampler'))
    data['sampler'] = dict(type='DefaultSampler', shuffle=False)
    return dict(
        val_dataloader=data,
        test_dataloader=data,
        val_evaluator=dict(type='Accuracy', topk=(1,)),
        test_evaluator=dict(type='Accuracy', topk=(1,)),
        val_cfg=dict(type='eavit_mm.SubnetValLoop', **cfg),
        test_cfg=dict(type='eavit_mm.SubnetTestLoop', **cfg),
    )


def build(work_dir: Path, **changes: Any) -> Runner:
    return Runner.from_cfg(config(work_dir, **changes))


def prepared(runner: Runner) -> dict[str, Tensor]:
    """The runner brought to its first step; the weights before the hooks."""
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.call_hook('before_run')
    runner._init_model_weights()
    runner.load_or_resume()
    before = snapshot(runner.model)
    runner.call_hook('before_train')
    return before


def hook_of(runner: Runner, name: str) -> Any:
    (found,) = (h for h in runner.hooks if type(h).__name__ == name)
    return found


def notes_of(runner: Runner) -> list[dict[str, Any]]:
    return hook_of(runner, 'Recorder').notes


def images(number: int = 5) -> Tensor:
    rng = torch.Generator().manual_seed(9)
    return torch.randn(number, 1, 8, 8, generator=rng)


@torch.no_grad()
def logits(model: Any) -> Tensor:
    model.eval()
    return model(images(), mode='tensor')
