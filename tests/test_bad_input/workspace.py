"""A folder in which every command works, and how to run one there."""

import os
import runpy
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config import config as mmengine_config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from test_datasets import idx
from test_weights.foreign import timm_vit
from tool_runs import forget_runs
from torch import Tensor
from toys import randomise

import eavit_mm  # noqa: F401
from eavit_mm.datasets import fashion

ROOT = Path(__file__).resolve().parents[2]

# E = 12, H = 3, F = 10, L = 2; four patches of 14 px.
NETWORK = dict(
    arch=dict(
        embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=10
    ),
    img_size=28,
    patch_size=14,
    in_channels=1,
)
SPACE = dict(
    embed_dims=[4, 8, 12],
    num_heads=[1, 2, 3],
    feedforward_channels=[5, 10],
    max_off=1,
    shared=['num_heads'],
    ties=[],
)
SUBNET = dict(
    embed_dims=8,
    num_heads=[2, 2],
    feedforward_channels=[10, 5],
    head_dims=4,
    side='prefix',
)
# The sandwich rule's other subnets.
UNIFORM = dict(type='eavit_mm.UniformSampler', num=1)


def _data(split: str, **part: Any) -> dict[str, Any]:
    images = dict(
        type='eavit_mm.FashionMNIST',
        data_root='data',
        split=split,
        pipeline=[dict(type='PackInputs')],
    )
    divided = dict(type='eavit_mm.Split', dataset=images, seed=0, **part)
    return dict(
        batch_size=4,
        num_workers=0,
        dataset=divided if part else images,
        sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
    )


MODEL = dict(
    type='eavit_mm.ElasticImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[127], std=[70]),
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        **NETWORK,
        space=SPACE,
        init_cfg=dict(
            type='Pretrained', checkpoint='pretrained.pth', prefix='backbone.'
        ),
    ),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=12),
    sampler=dict(
        type='eavit_mm.SandwichSampler', num_others=1, others=UNIFORM
    ),
    distillation=dict(
        type='eavit_mm.InPlaceDistillation',
        loss_weight=1.0,
        task_weight=1.0,
        temperature=1.0,
    ),
    new_head=False,
    draw_per_rank=False,
)
LEVELS = [
    dict(begin=0, embed_dims=12),
    dict(
        begin=1,
        embed_dims=4,
        num_heads=1,
        feedforward_channels=5,
        max_off=1,
        p_off=0.5,
    ),
]
HOOKS = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
        num_batches=1,
    ),
    dict(type='eavit_mm.CurriculumHook', by_epoch=False, levels=LEVELS),
]
DEFAULT_HOOKS = dict(
    checkpoint=dict(
        type='eavit_mm.AtomicCheckpointHook', interval=1, max_keep_ckpts=1
    ),
    reproducible=dict(type='eavit_mm.ReproducibleHook'),
    supernet_meta=dict(type='eavit_mm.SupernetMetaHook', check_space=True),
)


def config() -> dict[str, Any]:
    """Every option of ours has a value that works."""
    parts = dict(search=8, train=None)
    loop = dict(
        subnets=dict(largest=1.0, small='smallest', own=SUBNET),
        budgets=['0.9'],
        count='exact',
        part='total',
        metric='accuracy/top1',
        metric_scale=0.01,
    )
    evaluator = dict(type='Accuracy', topk=(1,))
    cfg = dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['eavit_mm']),
        log_level='ERROR',
        load_from=None,
        resume=False,
        randomness=dict(seed=0),
        model=MODEL,
        train_dataloader=_data('train', part='train', parts=parts),
        val_dataloader=_data('train', part='search', parts=parts),
        test_dataloader=_data('test'),
        val_evaluator=evaluator,
        test_evaluator=evaluator,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        val_cfg=dict(type='eavit_mm.SubnetValLoop', **loop),
        test_cfg=dict(type='eavit_mm.SubnetTestLoop', **loop),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05)
        ),
        param_scheduler=[dict(type='LinearLR', start_factor=0.5, end=1)],
        default_hooks=DEFAULT_HOOKS,
        custom_hooks=HOOKS,
    )
    return deepcopy(cfg)


def put(cfg: Any, place: str, value: Any) -> None:
    """Sets ``a.b.0.c`` of nested dicts and lists."""
    *path, last = [int(k) if k.isdigit() else k for k in place.split('.')]
    for key in path:
        cfg = cfg[key]
    cfg[last] = value


def write_config(path: Path, cfg: dict[str, Any]) -> None:
    """A config file that says just this."""
    lines = [f'{key} = {value!r}' for key, value in cfg.items()]
    # repr has no literals for these.
    numbers = ["nan = float('nan')", "inf = float('inf')"]
    path.write_text('\n'.join([*numbers, *lines, '']))


def stock_network() -> Any:
    """mmpretrain's own, its weights random."""
    head = dict(MODEL['head'], type='mmpretrain.LinearClsHead')
    network = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.VisionTransformer', **NETWORK),
            head=head,
        )
    )
    return randomise(network)


def timm_state() -> dict[str, Tensor]:
    """The weights of timm's network of that size."""
    sizes = dict(embed_dim=12, depth=2, num_heads=3, mlp_ratio=10 / 12)
    images = dict(img_size=28, patch_size=14, in_chans=1)
    network = timm_vit(**sizes, **images, num_classes=10)
    return dict(network.state_dict())


def make(folder: Path) -> None:
    """Fills a folder: config, weights of every format, data, a run."""
    idx.write(folder / 'data', compressed=True)
    state = stock_network().state_dict()
    torch.save(dict(meta={}, state_dict=state), folder / 'pretrained.pth')
    foreign = timm_state()
    torch.save(foreign, folder / 'timm.pth')
    torch.save(foreign, folder / 'timm.bin')
    save_file(foreign, folder / 'timm.safetensors')
    arrays = {key: weight.numpy() for key, weight in foreign.items()}
    np.savez(folder / 'timm.npz', **arrays)
    (folder / 'subnet.json').write_text(repr(SUBNET).replace("'", '"') + '\n')
    write_config(folder / 'config.py', config())
    first = '--cfg-options', 'train_cfg.max_epochs=1'
    run(folder, 'train.py', 'config.py', '--work-dir', 'work', *first)
    for path in (folder / 'work').iterdir():
        if path.is_dir() or path.suffix == '.py':
            path.rename(folder.parent / f'{folder.name}_{path.name}')
    # The folder will be copied.
    (folder / 'work' / 'last_checkpoint').write_text('work/epoch_1.pth')
    last = folder / 'work' / 'epoch_1.pth'
    shutil.copy(last, folder / 'trained.pth')
    # It is of the first epoch of the config's two.
    state = torch.load(last)
    state['message_hub']['runtime_info']['max_iters'] *= 2
    torch.save(state, last)


def _unchanged(code: str, **options: Any) -> tuple[str, bool]:
    return code, False


def run(folder: Path, tool: str, *args: str) -> None:
    """Runs a tool within this process, as its command line would."""
    path = str(ROOT / 'tools' / tool)
    forget_runs()
    DefaultScope._instance_dict.clear()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with (
            patch.object(sys, 'argv', [path, *args]),
            patch.object(fashion, 'PACKAGE_ROOT', 'no_package'),
            # Most of the time would go into the layout of logged configs.
            patch.object(mmengine_config, 'FormatCode', _unchanged),
        ):
            runpy.run_path(path, run_name='__main__')
    finally:
        os.chdir(before)
