"""The phases of stage 2 in a real run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fronts import front_of
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS, MODELS

from .toys import build, model_cfg, snapshot


@HOOKS.register_module()
class Watch(Hook):
    """Notes which weights each iteration changed."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.changed: list[set[str]] = []
        self.scales: list[float] = []

    def before_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        self.before = snapshot(runner.model)
        self.scales.append(runner.model.router.pareto_scale)

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        after = runner.model.state_dict()
        self.changed.append(
            {k for k in after if not torch.equal(after[k], self.before[k])}
        )


def run(folder: Path, **options: Any) -> Watch:
    front = front_of(MODELS.build(model_cfg()))
    (folder / 'pareto.json').write_text(json.dumps(front.to_dict()))
    router = dict(
        type='eavit_mm.RouterHead',
        front=str(folder / 'pareto.json'),
        fit_steps=20,
    )
    runner = build(
        folder,
        model=model_cfg(router=router),
        custom_hooks=[
            dict(type='eavit_mm.RouterHook', **options),
            dict(type='Watch'),
        ],
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
    )
    runner.train()
    assert all(p.requires_grad for p in runner.model.parameters())
    (watch,) = (h for h in runner.hooks if isinstance(h, Watch))
    return watch


def of_router(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith('router.')}


def test_the_router_trains_alone_at_first(tmp_path: Path) -> None:
    watch = run(tmp_path, warmup=4)
    assert len(watch.changed) == 9
    for number, changed in enumerate(watch.changed):
        assert of_router(changed)
        # Weight decay is a change as well.
        assert bool(changed - of_router(changed)) == (number >= 4), number
    assert watch.scales[:5] == [1.0] * 5
    assert watch.scales[5:] == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_without_warmup_all_train(tmp_path: Path) -> None:
    watch = run(tmp_path, warmup=0)
    assert all(changed - of_router(changed) for changed in watch.changed)
    assert watch.scales[0] == 1.0


@pytest.mark.parametrize('warmup', [9, 10])
def test_a_warmup_that_never_ends_is_refused(
    tmp_path: Path, warmup: int
) -> None:
    with pytest.raises(ValueError, match=f'RouterHook.warmup={warmup}; must'):
        run(tmp_path, warmup=warmup)


@pytest.mark.parametrize('warmup', [-1, 1.5, True])
def test_warmups_that_are_no_count(tmp_path: Path, warmup: Any) -> None:
    with pytest.raises(ValueError, match='RouterHook.warmup='):
        run(tmp_path, warmup=warmup)


def test_a_model_without_router_is_refused(tmp_path: Path) -> None:
    runner = build(
        tmp_path, custom_hooks=[dict(type='eavit_mm.RouterHook', warmup=1)]
    )
    with pytest.raises(ValueError, match='the model has no router'):
        runner.train()
