"""The stock trainer's features, on a supernet in a real toy run.

Elsewhere: accumulation in test_elastic_model.py, test-time augmentation in
test_subnet_loops.py, AMP on the CPU in test_cpu_amp.py, on a GPU in test_gpu.
"""

import runpy
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)
from torch import Tensor

from .toys import (
    build,
    config,
    evaluated,
    hook_of,
    model_cfg,
    snapshot,
    stock_cfg,
)

TRAIN = Path(__file__).resolve().parents[2] / 'tools' / 'train.py'
UNIFORM = dict(type='eavit_mm.UniformSampler', num=3)
TOP1 = 'half/accuracy/top1'


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def summed_gradients(model: Any, batch: Any, iteration: int) -> list[Tensor]:
    """Of the subnets of a step, subnet by subnet, without our step."""
    parameters = list(model.parameters())
    data = model.data_preprocessor(batch, True)
    total = [torch.zeros_like(p) for p in parameters]
    for subnet in model.draw_subnets(iteration):
        with model.backbone.use(subnet):
            losses = model(**data, mode='loss')
        found = torch.autograd.grad(
            losses['loss'], parameters, allow_unused=True
        )
        for place, gradient in zip(total, found, strict=True):
            if gradient is not None:
                place += gradient
    return total


# Clipping


def test_the_summed_gradient_is_clipped(tmp_path):
    limit = 0.3
    runner = build(
        tmp_path,
        model=model_cfg(sampler=UNIFORM),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.05),
            clip_grad=dict(max_norm=limit),
        ),
    )
    norms: list[float] = []
    expected: list[list[Tensor]] = []
    stepped: list[list[Tensor]] = []

    def before(runner: Runner, batch_idx: int, data_batch: Any) -> None:
        if not expected:
            runner.optim_wrapper.optimizer.register_step_pre_hook(
                lambda *args: stepped.append(
                    [
                        torch.zeros_like(p) if p.grad is None else p.grad + 0
                        for p in runner.model.parameters()
                    ]
                )
            )
        total = summed_gradients(runner.model, data_batch, runner.iter)
        norm = sum(float((g**2).sum()) for g in total) ** 0.5
        norms.append(norm)
        expected.append([g * min(1, limit / norm) for g in total])

    logged: list[float] = []
    scalars = runner.message_hub.log_scalars
    recorder = hook_of(runner, 'Recorder')
    recorder.before_train_iter = before
    recorder.after_train_iter = lambda *args, **kwargs: logged.append(
        scalars['train/grad_norm'].current()
    )
    runner.train()
    assert min(norms) > 2 * limit
    assert len(stepped) == len(expected) == 9
    # What is logged is the norm before clipping.
    assert logged == pytest.approx(norms, rel=1e-4)
    for found, wanted in zip(stepped, expected, strict=True):
        norm = sum(float((g**2).sum()) for g in found) ** 0.5
        assert norm == pytest.approx(limit, rel=1e-4)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


# Average of the weights


def test_the_average_is_validated_and_the_raw_weights_train_on(tmp_path):
    momentum = 0.3
    changes: dict[str, Any] = dict(
        model=model_cfg(sampler=UNIFORM),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.3)),
    )
    validated = evaluated(subnets=dict(half=0.5, smallest='smallest'))
    runner = build(
        tmp_path / 'averaged',
        train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1),
        custom_hooks=[
            dict(type='EMAHook', momentum=momentum),
            dict(type='Recorder'),
        ],
        **changes,
        **validated,
    )
    average: dict[str, Tensor] = {}
    seen: list[dict[str, Tensor]] = []

    def after_train_iter(runner: Runner, *args: Any, **kwargs: Any) -> None:
        raw = dict(runner.model.named_parameters())
        for name, p in raw.items():
            p = p.detach().double()
            old = average.get(name, p)
            average[name] = (1 - momentum) * old + momentum * p

    def after_val_iter(
        runner: Runner, batch_idx: int, data_batch: Any, outputs: Any
    ) -> None:
        # A copy knows no slices that were cut before.
        twin = deepcopy(runner.model)
        for name, p in twin.named_parameters():
            torch.testing.assert_close(p.double(), average[name])
            p.data.copy_(average[name])
        expected = twin.val_step(data_batch)
        for sample, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(sample.pred_score, wanted.pred_score)
        seen.append(snapshot(runner.model))

    hook_of(runner, 'Recorder').after_train_iter = after_train_iter
    hook_of(runner, 'Recorder').after_val_iter = after_val_iter
    runner.train()
    assert len(seen) == 3 * 2 * 5
    ema = hook_of(runner, 'EMAHook').ema_model.module
    for name, p in ema.named_parameters():
        torch.testing.assert_close(p.double(), average[name])

    plain = build(tmp_path / 'plain', **changes)
    plain.train()
    raw = snapshot(plain.model)
    assert_equal(snapshot(runner.model), raw)
    assert not torch.equal(raw['head.fc.weight'], seen[-1]['head.fc.weight'])


# Learning rates


def trained_groups(runner: Runner) -> list[dict[str, Any]]:
    """The optimizer's groups after a training; parameters by their names."""
    runner.train()
    names = {id(p): name for name, p in runner.model.named_parameters()}
    return [
        {**group, 'params': [names[id(p)] for p in group['params']]}
        for group in runner.optim_wrapper.optimizer.param_groups
    ]


def test_layer_wise_decay_is_the_stock_networks(tmp_path):
    optim_wrapper = dict(
        optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05),
        constructor='LearningRateDecayOptimWrapperConstructor',
        paramwise_cfg=dict(
            layer_decay_rate=0.5,
            norm_decay_mult=0.0,
            flat_decay_mult=0.1,
            custom_keys={'.cls_token': dict(decay_mult=0.2)},
        ),
    )
    ours, stock = (
        trained_groups(
            build(tmp_path / name, model=model, optim_wrapper=optim_wrapper)
        )
        for name, model in dict(a=model_cfg(), b=stock_cfg()).items()
    )
    # In the same order too: an optimizer's state is loaded by place.
    assert ours == stock
    rates = {name: g['lr'] for g in ours for name in g['params']}
    assert rates['head.fc.weight'] == 0.01
    assert rates['backbone.layers.1.attn.qkv.weight'] == 0.005
    assert rates['backbone.layers.0.attn.qkv.weight'] == 0.0025
    assert rates['backbone.pos_embed'] == 0.00125


@pytest.mark.parametrize(
    ('size', 'options', 'rate'),
    [
        (16, [], 0.0125),  # batches of 4: a quarter of 0.05
        (None, ['auto_scale_lr.base_batch_size=8'], 0.025),
        (16, ['auto_scale_lr.enable=False'], 0.05),
    ],
)
def test_auto_scale_lr(tmp_path, monkeypatch, size, options, rate):
    path = tmp_path / 'toy.py'
    scale = dict(auto_scale_lr=dict(base_batch_size=size)) if size else {}
    config(tmp_path, **scale).dump(path)
    options = ['--cfg-options', 'log_level=ERROR', *options]
    argv = [str(TRAIN), str(path), '--auto-scale-lr', *options]
    monkeypatch.setattr(sys, 'argv', argv)
    tool = runpy.run_path(argv[0])
    runner = Runner.from_cfg(tool['merge_args'](tool['parse_args']()))
    runner.train()
    (group,) = runner.optim_wrapper.param_groups
    assert group['lr'] == pytest.approx(rate)
    for value in ('0', 'x', 'None'):
        argv[-1] = f'auto_scale_lr.base_batch_size={value}'
        with pytest.raises(
            ValueError, match='^auto_scale_lr.base_batch_size=.* at least 1$'
        ):
            tool['merge_args'](tool['parse_args']())


# Records of a run


def test_tensorboard_shows_loss_and_macs(tmp_path):
    runner = build(
        tmp_path,
        model=model_cfg(sampler=UNIFORM),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        log_processor=dict(window_size=1),
        visualizer=dict(
            type='Visualizer',
            vis_backends=[dict(type='TensorboardVisBackend')],
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        **evaluated(subnets=dict(half=0.5, largest=1.0)),
    )
    losses: list[float] = []
    best: list[float] = []
    recorder = hook_of(runner, 'Recorder')
    recorder.after_train_iter = lambda runner, outputs, **kwargs: (
        losses.append(float(outputs['loss']))
    )
    recorder.after_val_epoch = lambda runner, metrics: best.append(
        metrics[TOP1]
    )
    runner.train()
    (folder,) = {p.parent for p in tmp_path.rglob('events.out.tfevents.*')}
    events = EventAccumulator(str(folder)).Reload()
    model = runner.model
    macs = model.backbone.macs

    def scalars(tag: str) -> list[tuple[int, float]]:
        return [(e.step, pytest.approx(e.value)) for e in events.Scalars(tag)]

    shares = [
        sum(map(macs, subnets)) / len(subnets) / macs()
        for subnets in map(model.draw_subnets, range(6))
    ]
    steps = range(1, 7)
    assert scalars('macs_ratio') == list(zip(steps, shares, strict=True))
    assert scalars('loss') == list(zip(steps, losses, strict=True))
    assert [value for _, value in scalars(TOP1)] == best
    assert len(set(shares)) == 6


# Checkpoints


class Scores(Hook):
    """Puts scores of its own in place of those of the validation."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        metrics[TOP1] = next(self.scores)


def test_the_old_best_goes_after_the_new_one_is_there(tmp_path, monkeypatch):
    def best() -> list[str]:
        return sorted(p.name[-11:-4] for p in tmp_path.glob('best_half_acc*'))

    runner = build(
        tmp_path,
        train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=1),
        default_hooks=dict(
            logger=None,
            checkpoint=dict(
                type='eavit_mm.AtomicCheckpointHook',
                # No other checkpoint is due while the best one changes.
                interval=100,
                save_best=TOP1,
            ),
        ),
        **evaluated(),
    )
    runner.register_hook(Scores(10, 30, 20, 40))
    before: dict[str, list[str]] = {}
    after: list[list[str]] = []
    replace = Path.replace

    def replacing(source: Path, target: Path) -> Path:
        if Path(target).name.startswith('best_'):
            # Complete before it gets its name.
            state = torch.load(source, weights_only=True)['state_dict']
            assert_equal(state, runner.model.state_dict())
            before[Path(target).name[-11:-4]] = best()
        return replace(source, target)

    monkeypatch.setattr(Path, 'replace', replacing)
    hook_of(runner, 'Recorder').before_train_iter = lambda *args, **kwargs: (
        after.append(best())
    )
    runner.train()
    assert before == dict(epoch_1=[], epoch_2=['epoch_1'], epoch_4=['epoch_2'])
    assert after[3::3] == [['epoch_1'], ['epoch_2'], ['epoch_2']]
    assert best() == ['epoch_4']
    assert not list(tmp_path.glob('.*.partial'))
