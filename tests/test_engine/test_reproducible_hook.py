"""Every draw of a sample is its own, and the same in every run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    Runner,
)
from mmpretrain.registry import TRANSFORMS

from eavit_mm.engine.hooks import ReproducibleHook
from eavit_mm.engine.hooks import reproducible_hook as module

from .toys import build, loader

SIZE = 12


@DATASETS.register_module(force=True)
class ToyNumbers(BaseDataset):
    def load_data_list(self) -> list[dict[str, int]]:
        return [dict(label=i) for i in range(SIZE)]


@TRANSFORMS.register_module(force=True)
class ToyDraw:
    """A stand-in of random augmentation."""

    def __call__(self, data: dict[str, Any]) -> tuple[int, float]:
        return data['label'], torch.rand(()).item()


def dataset(wrapper: str | None) -> dict[str, Any]:
    init_default_scope('mmpretrain')
    pipeline = [dict(type='ToyDraw')]
    inner = dict(type='mmengine.ToyNumbers', pipeline=pipeline)
    if wrapper == 'RepeatDataset':
        return dict(type=wrapper, dataset=inner, times=4)
    if wrapper == 'ConcatDataset':
        return dict(type=wrapper, datasets=[inner, dict(inner)])
    return inner


def hooked(
    sampler: str,
    wrapper: str | None,
    workers: int,
    seed: int = 3,
    done: int | None = None,
) -> Any:
    """A hooked loop, as a run with this seed has it.

    Of iterations, of which so many are done, or of epochs.
    """
    loader = Runner.build_dataloader(
        dict(
            batch_size=5,
            num_workers=workers,
            persistent_workers=workers > 0,
            dataset=dataset(wrapper),
            sampler=dict(type=sampler, shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        seed=seed,
    )
    found = dict(seed=seed)
    runner: Any = SimpleNamespace(
        message_hub=SimpleNamespace(
            get_info=found.get, update_info=found.__setitem__
        ),
        visualizer=SimpleNamespace(),
        train_dataloader=loader,
        iter=done,
    )
    runner.train_loop = (
        EpochBasedTrainLoop(runner, loader, 9)
        if done is None
        else IterBasedTrainLoop(runner, loader, 99)
    )
    runner.train_loop._iter = done or 0
    ReproducibleHook().before_train(runner)
    return runner.train_loop


def draws(batches: Any) -> list[tuple[int, float]]:
    return [
        (int(label), value)
        for labels, values in batches
        for label, value in zip(labels, values, strict=True)
    ]


def epochs(number: int, *args: Any, **kwargs: Any) -> list[Any]:
    """What a loop of epochs sees."""
    loader = hooked(*args, **kwargs).dataloader
    found = []
    for epoch in range(number):
        loader.sampler.set_epoch(epoch)
        loader.batch_sampler.epoch = epoch
        found += draws(loader)
    loader._iterator = None  # ends its workers, which garbage would wait for
    return found


def iterations(
    number: int, *args: Any, done: int = 0, **kwargs: Any
) -> list[Any]:
    """What a loop of iterations sees, resumed behind so many."""
    loop = hooked(*args, done=done, **kwargs)
    iterator = loop.dataloader_iterator
    for _ in range(done):  # as mmengine's does
        next(iterator)
    found = draws(next(iterator) for _ in range(number))
    # Ends the workers, which garbage would wait for.
    loop.dataloader._iterator = loop.dataloader_iterator = iterator = None
    return found


@pytest.mark.parametrize(
    ('sampler', 'wrapper'),
    [
        ('DefaultSampler', None),
        ('DefaultSampler', 'ConcatDataset'),
        ('DefaultSampler', 'RepeatDataset'),
        ('RepeatAugSampler', None),
    ],
)
def test_every_draw_of_an_epoch_loop_is_its_own(
    sampler: str, wrapper: str | None
) -> None:
    """Workers change nothing."""
    found = epochs(2, sampler, wrapper, 0)
    assert len({value for _, value in found}) == len(found) >= 2 * SIZE
    assert found == epochs(2, sampler, wrapper, 2)
    assert found != epochs(2, sampler, wrapper, 0, seed=4)


@pytest.mark.parametrize(
    ('sampler', 'wrapper'),
    [
        ('DefaultSampler', None),
        ('InfiniteSampler', None),
        ('InfiniteSampler', 'RepeatDataset'),
        ('RepeatAugSampler', None),
    ],
)
def test_a_loop_of_iterations_goes_on_where_it_was(
    sampler: str, wrapper: str | None
) -> None:
    whole = iterations(14, sampler, wrapper, 0)
    assert len({value for _, value in whole}) == len(whole) > 5 * SIZE - 9
    assert whole == iterations(14, sampler, wrapper, 2)
    # In the middle of a pass, at its end, behind several.
    for done in (1, 3, 10):
        before = len(iterations(done, sampler, wrapper, 0))
        resumed = iterations(14 - done, sampler, wrapper, 0, done=done)
        assert whole[before:] == resumed


def test_what_was_trained_on_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []
    monkeypatch.setattr(
        ToyDraw, '__call__', lambda _, data: read.append(data) or (0, 0.0)
    )
    iterations(1, 'InfiniteSampler', None, 0, done=1000)
    assert len(read) == 5


@pytest.mark.parametrize(
    ('processes', 'size', 'said'),
    [
        (1, 2, r'--resume: .*now .*: 2, .* give train_.*batch_size=4, or'),
        (2, 4, r'--resume: .*now .*: 2.* give train_.*batch_size=2, or'),
        (3, 4, r'--resume: .*now .*: 3.* give 1 processes, or'),
        (2, 2, None),
    ],
)
def test_schedules_fit_other_processes_or_none_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
    size: int,
    said: str | None,
) -> None:
    hooks = [dict(type='eavit_mm.ReproducibleHook')]
    build(tmp_path, custom_hooks=hooks).train()
    monkeypatch.setattr(module, 'get_world_size', lambda: processes)
    runner = build(
        tmp_path,
        custom_hooks=hooks,
        train_dataloader=loader(batch_size=size),
        resume=True,
    )
    warned: list[str] = []
    monkeypatch.setattr(runner.logger, 'warning', warned.append)
    if said is None:
        runner.train()
        assert any('not those of an uninterrupted' in line for line in warned)
        return
    with pytest.raises(ValueError, match=said):
        runner.train()


def test_iterations_over_no_batch_are_refused(tmp_path: Path) -> None:
    runner = build(
        tmp_path,
        custom_hooks=[dict(type='eavit_mm.ReproducibleHook')],
        train_dataloader=loader(size=3, drop_last=True),
        train_cfg=dict(by_epoch=False, max_iters=2),
    )
    with pytest.raises(ValueError, match='fewer images than batch_size=4'):
        runner.train()
