"""Killed at any moment and resumed = not killed, to the bit."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from fronts import front_of
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from seg_leaves import LOVEDA, WIDEST, layout_of, short, write

from eavit_mm.engine.cli import build_runner
from eavit_mm.files import write_json

from .forked_tools import Done, run_ranks
from .searches import DIGITS

DISTILLATION = (
    dict(type='eavit_mm.FrozenDistillation', hidden_weight=0.1),
    dict(type='eavit_mm.InPlaceDistillation'),
)
# In several processes one subnet a step: what it leaves out no rank uses.
SAMPLERS = (
    dict(type='eavit_mm.SandwichSampler', num_others=1, _delete_=True),
    dict(type='eavit_mm.UniformSampler', _delete_=True),
)
EPOCH = 8  # iterations
NARROW_LEVELS = [dict(begin=0), dict(WIDEST, begin=1 / 3)]
SAMPLING = 'Infinite', 'Default'
LEVELS = [
    dict(begin=0, embed_dims=64, num_heads=3),
    dict(
        begin=1 / 3,
        embed_dims=32,
        num_heads=1,
        feedforward_channels=48,
        max_off=2,
        p_off=0.5,
    ),
]


def config(folder: Path, stage: int, world: int, workers: int) -> Config:
    """Three epochs; stage 0 is stage 1 by iterations, without end.

    Of digits, or of the segmentor that lies beside the folder.
    """
    own = folder.with_name(LOVEDA.name)
    batch, levels, parts = 16, LEVELS, dict(train=120, rest=None)
    if own.exists():
        batch, levels, parts = 4, NARROW_LEVELS, {}
    cfg = Config.fromfile(own if own.exists() else DIGITS)
    by_epoch = stage > 0
    length = dict(max_epochs=3) if by_epoch else dict(max_iters=3 * EPOCH)
    cfg.train_cfg = dict(by_epoch=by_epoch, val_interval=100, **length)
    cfg.merge_from_dict(
        {
            'model.backbone.drop_path_rate': 0.2,
            'model.sampler': SAMPLERS[world > 1],
            'model.distillation': DISTILLATION[stage == 1 and world == 1],
            'randomness.seed': 1,
            'train_dataloader.batch_size': batch // world,
            'train_dataloader.num_workers': workers,
            'train_dataloader.persistent_workers': workers > 0,
            'train_dataloader.dataset.parts': parts,
            'train_dataloader.sampler.type': f'{SAMPLING[by_epoch]}Sampler',
            'param_scheduler': [
                dict(
                    type='CosineAnnealingLR',
                    by_epoch=by_epoch,
                    convert_to_iter_based=by_epoch,
                )
            ],
            # No checkpoint falls between two batches of an update.
            'optim_wrapper.accumulative_counts': 2,
            'default_hooks.checkpoint.by_epoch': by_epoch,
            'default_hooks.checkpoint.interval': 1 if by_epoch else EPOCH,
            'custom_hooks.1.by_epoch': by_epoch,
            'custom_hooks.1.levels': levels,
            'log_level': 'ERROR',
            'work_dir': str(folder),
        }
    )
    for name in ('type', 'dtype', 'loss_scale'):  # of a GPU
        cfg.optim_wrapper.pop(name, None)
    cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.1))
    if stage == 2:
        # The second checkpoint falls into the joint phase.
        cfg.custom_hooks.append(dict(type='eavit_mm.RouterHook', warmup=9))
        cfg.model.router = dict(
            type='eavit_mm.RouterHead',
            front=str(folder.parent / 'pareto.json'),
            gated_every=2,
            fit_steps=20,
        )
        cfg.optim_wrapper.paramwise_cfg = dict(
            custom_keys=dict(router=dict(lr_mult=4.0, decay_mult=0.0))
        )
    cfg.launcher = 'none' if world == 1 else 'pytorch'
    cfg.resume = (folder / 'last_checkpoint').exists()
    return cfg


def train(*options: Any) -> None:
    cfg = config(*options)
    runner = build_runner(cfg)
    runner.train()
    rank = os.environ.get('RANK', '0')
    state = dict(runner.model.state_dict())
    torch.save(state, Path(cfg.work_dir, f'rank{rank}.pth'))


def difference(a: Any, b: Any, place: str = '') -> str:
    """The first place where two checkpoints differ; empty if nowhere."""
    if isinstance(a, torch.Tensor):
        return '' if torch.equal(a, b) else place
    if isinstance(a, list | tuple):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if not isinstance(a, dict):
        return '' if a == b else f'{place}: {a} {b}'
    if a.keys() != b.keys():
        return f'{place}: {a.keys() ^ b.keys()}'
    found = (difference(a[key], b[key], f'{place}.{key}') for key in a)
    return next(filter(None, found), '')


def result(folder: Path, last: str) -> dict[str, Any]:
    """What must be the same: of the checkpoint, and the ranks' weights."""
    kept = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    checkpoint = torch.load(folder / last, weights_only=True)
    found = {key: checkpoint[key] for key in kept}
    for path in folder.glob('rank*.pth'):
        found[path.stem] = torch.load(path, weights_only=True)
        assert not difference(found['rank0'], found[path.stem])
    return found


# Kills, each of what resumed behind the one before, and the checkpoint that
# is then the last: in mid-epoch; before a checkpoint gets its name; before
# `last_checkpoint` gets its own; before the old checkpoint goes.
KILLS = [('iter:14', 1), ('replace:1', 1), ('replace:2', 1), ('removal:2', 2)]


@pytest.mark.parametrize(
    ('stage', 'processes', 'workers', 'kills', 'segments'),
    [
        pytest.param(1, 1, 2, KILLS, False, id='two workers'),
        pytest.param(0, 1, 0, KILLS[:2], False, id='by iterations'),
        pytest.param(
            *(1, 2, 0, [KILLS[0], KILLS[2]], False), id='two processes'
        ),
        # In the router's warm-up, in a save, and in the joint phase.
        pytest.param(
            *(2, 1, 0, [('iter:9', 1), KILLS[1], ('iter:10', 2)], False),
            id='stage 2',
        ),
        pytest.param(
            *(2, 2, 0, [('iter:10', 1), ('iter:9', 2)], False),
            id='stage 2, two processes',
        ),
        pytest.param(
            *(0, 2, 1, KILLS[:1], True),
            id='segmentor by iterations, two processes, workers',
        ),
        pytest.param(
            *(2, 1, 0, [('iter:20', 2)], True), id='segmentor, stage 2'
        ),
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    tmp_path: Path,
    stage: int,
    processes: int,
    workers: int,
    kills: list[tuple[str, int]],
    segments: bool,
) -> None:
    """One process: with two workers in turns with none."""
    names = [f'epoch_{number}.pth' for number in (1, 2, 3)]
    if stage == 0:
        names = [f'iter_{number * EPOCH}.pth' for number in (1, 2, 3)]
    if segments:
        images = layout_of(LOVEDA)._replace(images=32)
        write(tmp_path / 'data', images)
        rest = {'save_best': None, 'max_keep_ckpts': 1}
        hook = {f'default_hooks.checkpoint.{k}': v for k, v in rest.items()}
        short(LOVEDA, tmp_path, tmp_path / 'data', **hook)
    if stage == 2:
        cfg = config(tmp_path / 'any', 1, 1, 0)
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        front = front_of(model, metric=cfg.search_cfg.metric)
        write_json(front.to_dict(), tmp_path / 'pareto.json')

    def run(folder: Path, workers: int, kill: str = '') -> Done:
        options = folder, stage, processes, workers
        return run_ranks(train, *options, processes=processes, kill=kill)

    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    done = run(whole, workers)
    assert done.status == 0, done.text
    for kill, last in kills:
        done = run(killed, workers, kill)
        assert done.status == -signal.SIGKILL, (kill, done.text)
        # A complete checkpoint is there, whatever the moment.
        assert (killed / 'last_checkpoint').read_text() == names[last - 1]
        workers = 2 - workers if processes == 1 else workers
    done = run(killed, workers)
    assert done.status == 0, done.text
    assert not difference(result(whole, names[2]), result(killed, names[2]))
    # max_keep_ckpts=1, and nothing half or expired is left.
    left = {path.name for path in killed.iterdir() if 'pth' in path.name}
    ranks = {f'rank{rank}.pth' for rank in range(processes)}
    assert left == {names[2], *ranks}
