"""Random numbers that do not depend on what ran before.

A run killed anywhere and resumed makes the draws that the uninterrupted run
would have made: the main process is seeded anew in every iteration, every
sample by its index and its pass over the data, in whichever worker. What was
trained on is not read again: the sampler begins where the run was.
"""

import random
from collections.abc import Iterator
from itertools import chain, count, islice, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from eavit_mm.options import check_count
from eavit_mm.registry import HOOKS

# Streams of numbers that must not meet.
_ITERATION, _SAMPLE, _PLACE = range(3)


def seed_everything(*stream: int, devices: bool = True) -> None:
    """Seeds Python, numpy and torch; different tuples are unrelated.

    Without accelerators it takes a tenth of the time, which counts where
    every sample is seeded.
    """
    state = np.random.SeedSequence(stream).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # noqa: NPY002
    if devices:
        torch.manual_seed(int(state[2]))
    else:
        torch.default_generator.manual_seed(int(state[2]))


class _Drawn(NamedTuple):
    """An index of a sample, and by what the sample is seeded."""

    index: Any
    stream: tuple[int, ...]


class _SeededItems:
    """A data set's ``__getitems__``: torch asks for batches by it."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __call__(self, batch: list[Any]) -> list[Any]:
        samples = []
        for drawn in batch:
            if not isinstance(drawn, _Drawn):  # another loader's: first pass
                drawn = _Drawn(drawn, (_SAMPLE, 0, drawn))
            seed_everything(self.seed, *drawn.stream, devices=False)
            samples.append(self.dataset[drawn.index])
        return samples


class _Batches:
    """A batch sampler that says when each index was drawn."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.batches: Any = loader.batch_sampler
        # mmengine looks for it here where the loader's own is another.
        self.sampler: Any = getattr(self.batches, 'sampler', None)
        # Elsewhere an index can come twice in a pass: its place tells then.
        self.by_index = type(self.sampler) is DefaultSampler
        self.epoch = 0  # the pass that begins next
        self.skip = 0  # batches that it leaves out

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[_Drawn]]:
        epoch, skip, self.skip = self.epoch, self.skip, 0
        for number, batch in islice(enumerate(self.batches), skip, None):
            if self.by_index:
                yield [_Drawn(i, (_SAMPLE, epoch, i)) for i in batch]
            else:
                stream = _PLACE, epoch, get_rank(), number
                yield [_Drawn(i, (*stream, k)) for k, i in enumerate(batch)]


@HOOKS.register_module()
class ReproducibleHook(Hook):
    """Seeds every iteration and every sample from the run's seed.

    Resumed training is then bit-equal to uninterrupted training (CPU, same
    number of processes), by epochs and by iterations, and the number of
    workers changes nothing.

    Raises:
        ValueError: When training goes on with another number of images an
            iteration: its schedules count iterations.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Puts the seeding between the sampler and the data set."""
        self.seed = runner.message_hub.get_info('seed') or 0
        loader: Any = runner.train_dataloader
        _compare_processes(runner, loader)
        dataset = loader.dataset
        dataset.__getitems__ = _SeededItems(dataset, self.seed)
        self.batches = _Batches(loader)
        # Torch forbids it: other parts of the loader could follow from it.
        object.__setattr__(loader, 'batch_sampler', self.batches)
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            # Its workers have read the first batches without all this.
            loader._iterator = None
            # mmengine reads once more what was trained on: as many Nones.
            behind = self._passes(loader, loop.iter)
            loop.dataloader_iterator = chain(repeat(None, loop.iter), behind)

    def _passes(self, loader: Any, done: int) -> Iterator[Any]:
        """Batches without end, behind those that were trained on."""
        sampler = self.batches.sampler
        if isinstance(sampler, InfiniteSampler):
            # A single pass, from which mmengine's loop has drawn.
            sampler.indices = sampler._indices_of_rank()
            first, self.batches.skip = 0, done
        elif not len(loader):
            raise ValueError(
                'train_dataloader: drop_last=True, and there are fewer images '
                f'than batch_size={loader.batch_size}: no batch is left'
            )
        else:
            first, self.batches.skip = divmod(done, len(loader))
        for number in count(first):
            self.batches.epoch = number
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(number)
            yield from loader

    def before_train_epoch(self, runner: Runner) -> None:
        """Notes the epoch; a loop of iterations has one, without end."""
        self.batches.epoch = runner.epoch

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Seeds what the step draws: dropout, drop path, mixup."""
        seed_everything(self.seed, _ITERATION, runner.iter, get_rank())


def _compare_processes(runner: Runner, loader: Any) -> None:
    """Refuses to go on with another number of images an iteration."""
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    now = dict(processes=get_world_size(), batch_size=size)
    now['images'] = len(loader.dataset)
    hub, before = runner.message_hub, dict(now)
    for name, value in now.items():
        key = f'eavit_mm_{name}'  # in every checkpoint
        if runner.iter:
            before[name] = old = hub.get_info(key, value)
            check_count(f"--resume: message_hub's {key}", old, least=1)
        hub.update_info(key, value)
    if before == now:
        return
    change = f'trained with {before}, now {now}'
    each = before['processes'] * before['batch_size']
    if each != now['processes'] * now['batch_size']:
        fits = f'train_dataloader.batch_size={each // now["processes"]}'
        if each % now['processes']:
            fits = f'{before["processes"]} processes'
        raise ValueError(
            f'--resume: {change}: what is left of the schedules would not '
            f'fit; give {fits}, or start from its weights: --cfg-options '
            'load_from=FILE'
        )
    runner.logger.warning(
        f'--resume: {change}: random draws and the order of the data are not '
        'those of an uninterrupted run'
    )
