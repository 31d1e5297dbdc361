"""The phases of stage 2 in a real run."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from fronts import front_of
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS, MODELS

from eavit_mm.engine.hooks.router_hook import RouterHook

from .toys import build, evaluated, model_cfg, snapshot


@HOOKS.register_module()
class Watch(Hook):
    """Notes which weights each iteration changed, after a measurement."""

    priority = 'LOWEST'

    def before_run(self, runner: Runner) -> None:
        router = runner.model.router
        router.evaluated = dict(router=router.front.members[:1])

    def __init__(self) -> None:
        self.changed: list[set[str]] = []
        self.weights: list[float] = []

    def before_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        self.before = snapshot(runner.model)
        router = runner.model.router
        (route,) = router.draw([0], runner.iter)
        self.weights.append(route.front_weight / router.pareto_weight)

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        after = runner.model.state_dict()
        self.changed.append(
            {k for k in after if not torch.equal(after[k], self.before[k])}
        )


def run(
    folder: Path,
    more_hooks: Sequence[dict[str, Any]] = (),
    changes: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> Watch:
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
            *more_hooks,
        ],
        default_hooks=dict(
            logger=None,
            checkpoint=dict(type='eavit_mm.AtomicCheckpointHook', interval=1),
            supernet_meta=dict(type='eavit_mm.SupernetMetaHook'),
        ),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        **changes,
    )
    runner.train()
    assert all(p.requires_grad for p in runner.model.parameters())
    (watch,) = (h for h in runner.hooks if isinstance(h, Watch))
    return watch


def of_router(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith('router.')}


@pytest.mark.parametrize('warmup', [4, 0.5])  # iterations, share of 9
def test_the_router_trains_alone_at_first(
    tmp_path: Path, warmup: float
) -> None:
    watch = run(tmp_path, warmup=warmup)
    assert len(watch.changed) == 9
    for number, changed in enumerate(watch.changed):
        assert of_router(changed)
        # Weight decay is a change as well.
        assert bool(changed - of_router(changed)) == (number >= 4), number
    assert watch.weights[:5] == [1.0] * 5
    assert watch.weights[5:] == pytest.approx([0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize('warmup', [9, 10])
def test_a_warmup_that_never_ends_is_refused(
    tmp_path: Path, warmup: int
) -> None:
    with pytest.raises(ValueError, match=f'RouterHook.warmup={warmup}; must'):
        run(tmp_path, warmup=warmup)


@pytest.mark.parametrize(
    ('kind', 'level'), [('SurrogateRouter', 'INFO'), ('RouterHead', 'WARNING')]
)
def test_answers_are_not_evaluated_without_a_front(
    caplog: pytest.LogCaptureFixture, kind: str, level: str
) -> None:
    """A router that has none by design says so without a warning."""
    router = dict(type=f'eavit_mm.{kind}')
    runner: Any = SimpleNamespace(
        model=MODELS.build(model_cfg(router=router)),
        val_loop=object(),
        iter=8,
        max_iters=9,
        logger=logging.getLogger('of_answers'),
    )
    with caplog.at_level(logging.INFO, 'of_answers'):
        RouterHook().after_train_iter(runner)
    (record,) = caplog.records
    assert record.levelname == level
    assert 'by the router alone' in record.getMessage()


def test_a_model_without_router_is_refused(tmp_path: Path) -> None:
    runner = build(
        tmp_path, custom_hooks=[dict(type='eavit_mm.RouterHook', warmup=1)]
    )
    with pytest.raises(ValueError, match='the model has no router'):
        runner.train()


@HOOKS.register_module()
class BreakRouter(Hook):
    """Puts a NaN into an MLP in the second epoch."""

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        if runner.iter == 4:
            weight = runner.model.router.groups['embed_dims'][2].bias
            weight.data[1] = float('nan')


def test_a_nan_in_the_router_is_named_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError, match=r'^the gates of router\.groups\.{embed_dims}'
    ):
        run(tmp_path, [dict(type='BreakRouter')], warmup=2)
    last = tmp_path / (tmp_path / 'last_checkpoint').read_text()
    assert last.name == 'epoch_1.pth'
    state = torch.load(last, weights_only=True)['state_dict']
    assert all(weight.isfinite().all() for weight in state.values())


@pytest.mark.parametrize('averaged', [False, True])
def test_the_last_checkpoint_knows_what_its_answers_are_worth(
    tmp_path: Path, averaged: bool
) -> None:
    average = [dict(type='EMAHook', momentum=0.5)] * averaged
    run(tmp_path, average, evaluated(), warmup=2, num_budgets=5)
    for name in ('epoch_2.pth', 'epoch_3.pth'):
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        model = MODELS.build(
            model_cfg(router=dict(type='eavit_mm.RouterHead'))
        )
        model.load_state_dict(checkpoint['state_dict'])
        if name == 'epoch_2.pth':
            assert not model.router.evaluated
    found = model.router.evaluated
    front = model.router.front
    assert {m.subnet for m in found['front']} == {
        m.subnet for m in (*front.members, *front.references)
    }
    assert 1 < len(found['router']) <= 5
    # The numbers are those of the weights in the file.
    tester = build(
        tmp_path / 'test',
        model=model_cfg(router=dict(type='eavit_mm.RouterHead')),
        load_from=str(tmp_path / 'epoch_3.pth'),
        train_dataloader=None,
        train_cfg=None,
        optim_wrapper=None,
        custom_hooks=None,
        **{k: v for k, v in evaluated().items() if k.startswith('test')},
    )
    tester.test_loop.subnets = {
        str(i): m.subnet
        for i, m in enumerate([*found['front'], *found['router']])
    }
    metrics = tester.test()
    for i, member in enumerate([*found['front'], *found['router']]):
        assert metrics[f'{i}/{front.metric}'] == pytest.approx(
            member.metrics[front.metric]
        )


def test_without_validation_nothing_is_evaluated(tmp_path: Path) -> None:
    """What was measured of earlier weights is forgotten."""
    run(tmp_path, warmup=2)
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)
    model = MODELS.build(model_cfg(router=dict(type='eavit_mm.RouterHead')))
    model.load_state_dict(checkpoint['state_dict'])
    assert not model.router.evaluated
    assert checkpoint['meta']['eavit_mm']['stage'] == 2
