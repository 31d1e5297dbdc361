"""Whole runs of the trainer on a GPU: precision, average, resume, search."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_engine import test_trainer_features as features
from test_engine.toys import build, evaluated, model_cfg, snapshot

from eavit_mm.engine.optim import computes_bfloat16
from eavit_mm.space.pareto import ParetoFront

pytestmark = pytest.mark.gpu
SGD = dict(type='SGD', lr=0.05)
AVERAGED = features.test_the_average_is_validated_and_the_raw_weights_train_on


@pytest.mark.parametrize('kind', ['float16', 'bfloat16'])
def test_mixed_precision(tmp_path: Path, kind: str, device: str) -> None:
    """The scaled and summed gradients are those of float32, nearly."""
    # A scale that no gradient overflows: no step is left out.
    scale = dict(init_scale=128.0)
    amp = dict(type='AmpOptimWrapper', dtype=kind, loss_scale=scale)
    if device == 'cpu':
        if kind == 'float16':
            pytest.skip('the CPU trains in bfloat16 alone')
        amp = dict(type='eavit_mm.CpuAmpOptimWrapper')
    states, kinds = [], set()
    for number, wrapper in enumerate((dict(), amp)):
        runner = build(
            tmp_path / str(number),
            model=model_cfg(sampler=features.UNIFORM),
            optim_wrapper=dict(
                optimizer=SGD, clip_grad=dict(max_norm=1.0), **wrapper
            ),
        )
        if wrapper:
            runner.model.head.fc.register_forward_hook(
                lambda module, inputs, output: kinds.add(output.dtype)
            )
        start = snapshot(runner.model)
        runner.train()
        states.append(snapshot(runner.model))
    is_low = device != 'cpu' or computes_bfloat16()
    assert kinds == {getattr(torch, kind) if is_low else torch.float32}
    exact, mixed = states
    for name, value in exact.items():
        assert mixed[name].device.type == device
        assert mixed[name].dtype == torch.float32
        torch.testing.assert_close(mixed[name], value, rtol=0, atol=1e-2)
    moved = (exact['head.fc.weight'] - start['head.fc.weight']).abs().max()
    assert moved > 3e-2


def test_the_average_of_the_weights(tmp_path: Path, device: str) -> None:
    # It holds a training against another one, to the bit.
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    AVERAGED(tmp_path)


@pytest.mark.parametrize('is_exact', [True, False])
def test_resumed_is_uninterrupted(
    tmp_path: Path, is_exact: bool, device: str, record_property: Any
) -> None:
    """To the bit with deterministic algorithms; else it is measured."""
    hooks = dict(
        logger=None,
        checkpoint=dict(type='eavit_mm.AtomicCheckpointHook', interval=1),
        reproducible=dict(type='eavit_mm.ReproducibleHook'),
    )
    states = []
    for epochs in ((3,), (2, 3)):
        for number in epochs:
            runner = build(
                tmp_path / str(len(epochs)),
                model=model_cfg(sampler=features.UNIFORM),
                default_hooks=hooks,
                train_cfg=dict(
                    by_epoch=True, max_epochs=number, val_interval=9
                ),
                randomness=dict(seed=3, deterministic=is_exact),
                resume=number != epochs[0],
            )
            runner.train()
        assert runner.iter == 9
        states.append(snapshot(runner.model))
    whole, resumed = states
    apart = max(
        (whole[name] - resumed[name]).abs().max().item() for name in whole
    )
    record_property('largest difference of a weight', apart)
    assert whole['head.fc.weight'].device.type == device
    assert apart == 0 if is_exact else apart < 1e-3


def test_the_front_is_that_of_the_cpu(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fronts = []
    for where in (device, 'cpu'):
        monkeypatch.setattr(
            'mmengine.runner.runner.get_device', lambda w=where: w
        )
        changes = evaluated()
        changes['test_cfg'] = dict(
            type='eavit_mm.ParetoSearchLoop',
            metric='accuracy/top1',
            algorithm=dict(type='eavit_mm.NSGA2', pop_size=8),
            max_evaluations=30,
            threads=1,
        )
        folder = tmp_path / f'{len(fronts)}'
        runner = build(folder, **changes)
        assert next(runner.model.parameters()).device.type == where
        runner.test()
        space = runner.model.backbone.space
        fronts.append(ParetoFront.read(folder / 'pareto.json', space))
    assert fronts[0] == fronts[1]
    assert len({m.metrics['accuracy/top1'] for m in fronts[0].members}) > 1
