"""Random numbers that do not depend on what ran before.

A run killed anywhere and resumed makes the draws that the uninterrupted run
would have made: the main process is seeded anew in every iteration, every
sample by its index and epoch, in workers too.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, DefaultSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader, get_worker_info

from eavit_mm.registry import HOOKS

# Streams of numbers that must not meet.
_ITERATION, _SAMPLE, _COUNT, _PLACE = range(4)


def seed_everything(*stream: int, devices: bool = True) -> None:
    """Seeds Python, numpy and torch from a tuple of integers.

    Args:
        *stream: Non-negative; different tuples give unrelated numbers.
        devices: Accelerators too. Without them it takes a tenth of the time,
            which counts where every sample is seeded.
    """
    state = np.random.SeedSequence(stream).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # noqa: NPY002
    if devices:
        torch.manual_seed(int(state[2]))
    else:
        torch.default_generator.manual_seed(int(state[2]))


class _SeededPipeline:
    """A data set's pipeline, seeded before each sample.

    By a sample's index and epoch, or, where an index can come twice in an
    epoch or there are no epochs, by its place in the stream of its worker.

    Args:
        pipeline: The pipeline.
        seed: The seed of the run.
        epoch: A shared integer; workers that live on see it change.
        by_index: No index comes twice in an epoch.
    """

    def __init__(
        self, pipeline: Any, seed: int, epoch: torch.Tensor, by_index: bool
    ) -> None:
        self.pipeline = pipeline
        self.seed = seed
        self.epoch = epoch
        self.by_index = by_index
        self.count = 0
        self.counted = 0  # in this epoch

    def __call__(self, data: dict[str, Any]) -> Any:
        seed_everything(self.seed, *self._place(data), devices=False)
        return self.pipeline(data)

    def _place(self, data: dict[str, Any]) -> tuple[int, ...]:
        epoch = int(self.epoch)
        if self.by_index:
            return _SAMPLE, epoch, data['sample_idx']
        if epoch != self.counted:
            # Workers of this epoch may be new ones, and count from 0.
            self.counted, self.count = epoch, 0
        worker = get_worker_info()
        count, self.count = self.count, self.count + 1
        place = get_rank(), 0 if worker is None else worker.id, count
        return (_PLACE, epoch, *place) if epoch else (_COUNT, *place)

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline':  # not set yet while unpickling
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def _leaves(dataset: Any) -> Iterator[BaseDataset]:
    """The data sets inside wrappers such as ``ConcatDataset``."""
    if isinstance(dataset, BaseDataset):
        yield dataset
    for inner in _inside(dataset):
        yield from _leaves(inner)


def _inside(dataset: Any) -> list[Any]:
    """The data sets that a wrapper has."""
    one = [dataset.dataset] if hasattr(dataset, 'dataset') else []
    return [*getattr(dataset, 'datasets', ()), *one]


def _has_each_once(dataset: Any) -> bool:
    """Whether no sample stands twice in a data set; False if unknown."""
    known = isinstance(dataset, BaseDataset | ConcatDataset)
    return known and all(map(_has_each_once, _inside(dataset)))


def _epoch_sampler(loader: DataLoader[Any]) -> Any:
    """What draws a loader's indices, as mmengine looks for it."""
    if hasattr(loader.sampler, 'set_epoch'):
        return loader.sampler
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


@HOOKS.register_module()
class ReproducibleHook(Hook):
    """Seeds every iteration and every sample from the run's seed.

    Resumed training is then bit-equal to uninterrupted training (CPU, same
    number of processes). The training data must come from mmengine's
    ``BaseDataset``, wrapped or not.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        epoch: Any = torch.zeros((), dtype=torch.int64)
        self.epoch = epoch.share_memory_()

    def before_train(self, runner: Runner) -> None:
        """Puts the seeding in front of the data sets' pipelines."""
        self.seed = runner.message_hub.get_info('seed') or 0
        loader = runner.train_dataloader
        sampler = _epoch_sampler(loader)
        if hasattr(sampler, 'set_epoch'):
            self._follow(sampler)
        # Others can draw an index twice: without end, weighted, repeated.
        by_index = type(sampler) is DefaultSampler and _has_each_once(
            loader.dataset
        )
        for number, dataset in enumerate(_leaves(loader.dataset)):
            dataset.pipeline = _SeededPipeline(
                dataset.pipeline, self.seed + number, self.epoch, by_index
            )

    def _follow(self, sampler: Any) -> None:
        """Learns of each pass through the data, in loops of iterations too."""
        original = sampler.set_epoch

        def set_epoch(epoch: int) -> None:
            self.epoch.fill_(epoch)
            original(epoch)

        sampler.set_epoch = set_epoch

    def before_train_epoch(self, runner: Runner) -> None:
        """Tells the workers the epoch."""
        self.epoch.fill_(runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Seeds what the step draws: dropout, drop path, mixup."""
        seed_everything(self.seed, _ITERATION, runner.iter, get_rank())
