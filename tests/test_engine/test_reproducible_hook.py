"""Every draw of a sample is its own, and the same in every run."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from mmpretrain.registry import TRANSFORMS

from eavit_mm.engine.hooks import ReproducibleHook

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


def loader_of(
    sampler: str, wrapper: str | None, workers: int, seed: int = 3
) -> Any:
    """A hooked data loader, as a run with this seed has it."""
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
    hub = SimpleNamespace(get_info=lambda key: seed)
    hook = ReproducibleHook()
    hook.before_train(
        SimpleNamespace(message_hub=hub, train_dataloader=loader)
    )
    return loader


def draws(batches: Any) -> list[tuple[int, float]]:
    return [
        (int(label), value)
        for labels, values in batches
        for label, value in zip(labels, values, strict=True)
    ]


def epochs(number: int, *args: Any, **kwargs: Any) -> list[Any]:
    """What a loop of epochs sees."""
    loader = loader_of(*args, **kwargs)
    found = []
    for epoch in range(number):
        loader.sampler.set_epoch(epoch)
        found += draws(loader)
    return found


def iterations(number: int, *args: Any, **kwargs: Any) -> list[Any]:
    """What a loop of iterations sees."""
    iterator = _InfiniteDataloaderIterator(loader_of(*args, **kwargs))
    return draws(next(iterator) for _ in range(number))


@pytest.mark.parametrize('workers', [0, 2])
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
    sampler: str, wrapper: str | None, workers: int
) -> None:
    found = epochs(2, sampler, wrapper, workers)
    assert len({value for _, value in found}) == len(found) >= 2 * SIZE
    assert found == epochs(2, sampler, wrapper, workers)
    assert found != epochs(2, sampler, wrapper, workers, seed=4)


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
@pytest.mark.parametrize('wrapper', [None, 'RepeatDataset'])
def test_every_draw_of_an_iteration_loop_is_its_own(
    monkeypatch: pytest.MonkeyPatch, sampler: str, wrapper: str | None
) -> None:
    # mmengine waits between two passes.
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda s: None)
    found = iterations(14, sampler, wrapper, 0)
    assert len({value for _, value in found}) == len(found) > 5 * SIZE - 9
    assert found == iterations(14, sampler, wrapper, 0)


def test_a_draw_is_of_index_and_epoch() -> None:
    """Where an index comes once, workers change nothing."""
    alone, workers = (
        sorted(epochs(2, 'DefaultSampler', None, n)) for n in (0, 2)
    )
    assert alone == workers
