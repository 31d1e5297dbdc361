"""Trains, kills and resumes in forked processes; called by test_resume.

    python kill_runs.py FOLDER STAGE WORLD_SIZE WORKERS KILL [KILL ...]

For every KILL a run is killed by SIGKILL there, resumed (one process: with 2
workers instead of none, or the other way round), and compared with one that
was not; prints one line of JSON per KILL. KILL is NAME:N, the N-th call of a
function (see ``POINTS``) after the first epoch. STAGE 0 is stage 1 by
iterations, from a sampler without end.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forked_tools import ROOT, run_ranks
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmpretrain.registry import HOOKS, MODELS

import eavit_mm  # noqa: F401
from eavit_mm.engine.cli import build_runner
from eavit_mm.files import write_json

sys.path.append(str(ROOT / 'tests'))

from fronts import front_of

DISTILLATION = (
    dict(type='eavit_mm.FrozenDistillation', hidden_weight=0.1),
    dict(type='eavit_mm.InPlaceDistillation'),
)
# In several processes one subnet a step: what it leaves out no rank uses.
SAMPLERS = (
    dict(type='eavit_mm.SandwichSampler', num_others=1, _delete_=True),
    dict(type='eavit_mm.UniformSampler', _delete_=True),
)
# What a kill can fall upon: an iteration, or each step of a save.
POINTS = {
    'fsync': (os, 'fsync'),
    'replace': (Path, 'replace'),
    'unlink': (Path, 'unlink'),
}


EPOCH = 8  # iterations


@HOOKS.register_module()
class Killer(Hook):
    """Kills its process, as a machine that loses power would."""

    def __init__(self, point: str) -> None:
        self.name, number = point.split(':')
        self.left = int(number)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_train_iter(
        self, runner: Any, *args: Any, **kwargs: Any
    ) -> None:
        if self.name == 'iter' and runner.iter >= EPOCH:
            self._count()
        if self.name in POINTS and runner.iter == EPOCH:
            owner, name = POINTS[self.name]
            original = getattr(owner, name)

            def killing(*args: Any, **kwargs: Any) -> Any:
                self._count()
                return original(*args, **kwargs)

            setattr(owner, name, killing)


def config(
    folder: Path, stage: int, world: int, workers: int, kill: str | None
) -> Config:
    cfg = Config.fromfile(ROOT / 'configs/eavit/vitmini_digits.py')
    cfg.merge_from_dict(
        {
            'model.backbone.drop_path_rate': 0.2,
            'model.sampler': SAMPLERS[world > 1],
            'model.distillation': DISTILLATION[stage == 1 and world == 1],
            'randomness.seed': 1,
            'train_dataloader.batch_size': 16 // world,
            'train_dataloader.num_workers': workers,
            'train_dataloader.persistent_workers': workers > 0,
            'train_dataloader.dataset.parts': dict(train=120, rest=None),
            'train_cfg.max_epochs': 3,
            'train_cfg.val_interval': 100,
            'param_scheduler': [
                dict(type='CosineAnnealingLR', convert_to_iter_based=True)
            ],
            # No checkpoint falls between two batches of an update.
            'optim_wrapper.accumulative_counts': 2,
            'default_hooks.checkpoint.interval': 1,
            'custom_hooks.1.levels': [
                dict(begin=0, embed_dims=64, num_heads=3),
                dict(
                    begin=1,
                    embed_dims=32,
                    num_heads=1,
                    feedforward_channels=48,
                    max_off=2,
                    p_off=0.5,
                ),
            ],
            'log_level': 'ERROR',
            'work_dir': str(folder),
        }
    )
    cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.1))
    if stage == 0:
        train_by_iterations(cfg)
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
    if kill is not None:
        cfg.custom_hooks.append(dict(type='Killer', point=kill))
    cfg.launcher = 'none' if world == 1 else 'pytorch'
    cfg.resume = (folder / 'last_checkpoint').exists()
    return cfg


def train_by_iterations(cfg: Config) -> None:
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.train_cfg = dict(by_epoch=False, max_iters=3 * EPOCH)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False)]
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=EPOCH)
    cfg.custom_hooks[1].by_epoch = False
    cfg.custom_hooks[1].levels[1].begin = EPOCH


def train(cfg: Config, rank: int) -> int:
    torch.set_num_threads(1)
    if rank:
        cfg.custom_hooks = [
            hook for hook in cfg.custom_hooks if hook['type'] != 'Killer'
        ]
    runner = build_runner(cfg)
    runner.train()
    last = dict(runner.model.state_dict())
    torch.save(last, Path(cfg.work_dir, f'rank{rank}.pth'))
    return 0


def run(
    folder: Path, stage: int, world: int, workers: int, kill: str | None
) -> int:
    """One run in processes of its own; the exit status of rank 0."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = config(folder, stage, world, workers, kill)
    with Path(folder, 'ranks.log').open('a') as log:
        return run_ranks(world, partial(train, cfg), log.fileno())


def difference(a: Any, b: Any, place: str = '') -> str:
    """The first place where two checkpoints differ; empty if nowhere."""
    if isinstance(a, torch.Tensor):
        return '' if torch.equal(a, b) else place
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f'{place}: {a.keys() ^ b.keys()}'
        pairs = [(a[k], b[k], f'{place}.{k}') for k in a]
    elif isinstance(a, list | tuple):
        pairs = [
            (*ab, f'{place}.{i}')
            for i, ab in enumerate(zip(a, b, strict=True))
        ]
    else:
        return '' if a == b else f'{place}: {a} {b}'
    return next(filter(None, (difference(*pair) for pair in pairs)), '')


def result(folder: Path) -> dict[str, Any]:
    kept = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    last = Path((folder / 'last_checkpoint').read_text()).name
    checkpoint = torch.load(folder / last, weights_only=True)
    found = {key: checkpoint[key] for key in kept}
    for path in folder.glob('rank*.pth'):
        found[path.stem] = torch.load(path, weights_only=True)
    return found


def ranks_differ(folder: Path, world: int) -> str:
    """Where the final weights of the ranks differ; empty if nowhere."""
    first, *others = (
        torch.load(folder / f'rank{rank}.pth', weights_only=True)
        for rank in range(world)
    )
    return next(filter(None, (difference(first, o) for o in others)), '')


def main() -> None:
    folder, options = Path(sys.argv[1]), [int(a) for a in sys.argv[2:5]]
    stage, world, workers = options
    others = stage, world, 2 - workers if world == 1 else workers
    if stage == 2:
        init_default_scope('mmpretrain')
        model = MODELS.build(config(folder / 'any', 1, 1, 0, None).model)
        write_json(front_of(model).to_dict(), folder / 'pareto.json')
    whole = folder / 'whole'
    assert run(whole, *options, None) == 0, 'see ranks.log'
    expected = result(whole)
    for kill in sys.argv[5:]:
        name = folder / kill.replace(':', '_')
        killed = run(name, *options, kill)
        last = name / 'last_checkpoint'
        resumed = Path(last.read_text()).name if last.exists() else None
        status = run(name, *others, None)
        line = dict(
            kill=kill,
            signal=killed,
            resumed_from=resumed,
            status=status,
            differs=difference(expected, result(name)) if not status else '?',
            left=sorted(path.name for path in name.glob('*.pth')),
            ranks_differ=ranks_differ(name, world),
        )
        sys.stdout.write(json.dumps(line) + '\n')
        sys.stdout.flush()


if __name__ == '__main__':
    main()
