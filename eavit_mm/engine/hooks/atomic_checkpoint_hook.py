"""Checkpoints of which a complete one is on disk at every moment."""

import atexit
from contextlib import ExitStack
from math import gcd
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from eavit_mm.engine.checkpoint import LAST, last_checkpoint
from eavit_mm.engine.ranked_fitness import broadcast_from_rank_0
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.files import lock, write_atomically
from eavit_mm.registry import HOOKS
from eavit_mm.weights.state_dict import CheckpointError, require_sound

BACKEND = 'eavit_mm_atomic'
# Key of the message hub: names of checkpoints that the last one replaces.
EXPIRED = 'eavit_mm_expired_ckpts'
# The lock of this process's training; one that failed may have left its own.
_HELD = ExitStack()
atexit.register(_HELD.close)


@register_backend(BACKEND)
class AtomicBackend(LocalBackend):
    """Local files, written whole or not at all; removal can wait."""

    def __init__(self) -> None:
        super().__init__()
        self.doomed: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes under a temporary name, flushes, renames."""
        write_atomically(obj, filepath)

    def remove(self, filepath: str | Path) -> None:
        """Removes the file when :meth:`remove_doomed` is called."""
        self.doomed.append(str(filepath))

    def remove_doomed(self) -> None:
        """Removes what is waiting for it."""
        for path in self.doomed:
            Path(path).unlink(missing_ok=True)
        self.doomed.clear()


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that survives a kill at any moment.

    The stock hook removes the oldest checkpoint before it writes the new
    one, and writes in place: with ``max_keep_ckpts=1`` a kill can lose
    everything. Here a checkpoint is written under a temporary name, flushed
    and renamed; then ``last_checkpoint``; then old ones are removed. A run
    goes on in the folder of its checkpoint, wherever that was moved or copied
    to; where the best checkpoint is kept, with the validation that it was
    killed in. One training at a time writes there.

    Arguments: those of ``CheckpointHook``, for local folders.
    """

    file_backend: Any

    def before_run(self, runner: Runner) -> None:
        """Stock tools, too, go on from the work directory's own checkpoint."""
        if runner._resume and runner._load_from is None:
            runner._load_from = last_checkpoint(runner.work_dir)

    def before_train(self, runner: Runner) -> None:
        """Puts the safe backend in place of the stock one.

        Raises:
            ValueError: If checkpoints would fall into an epoch, or between
                the batches of an update, or another training writes there.
        """
        is_epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if not self.by_epoch and is_epochs:
            raise ValueError(
                'default_hooks.checkpoint: by_epoch=False in a loop of '
                'epochs: a resumed run would see the beginning of its epoch '
                'twice; save by epochs, or train by iterations '
                '(train_cfg.by_epoch=False)'
            )
        last = Path(runner.work_dir, LAST)
        _HELD.close()
        broadcast_from_rank_0(lambda: _HELD.enter_context(lock(last)))
        self.backend_args = dict(backend=BACKEND)
        is_own = self._take_over_paths(runner)
        super().before_train(runner)
        self._check_accumulation(runner)
        if is_main_process():
            self._remove_leftovers(runner, is_own)
        if self.save_best and runner.iter and _validation_is_due(runner):
            # A kill before its end: what was best is not in the checkpoint.
            runner.val_loop.run()

    def after_train(self, runner: Runner) -> None:
        """Then another training may write there."""
        super().after_train(runner)
        _HELD.close()

    def _take_over_paths(self, runner: Runner) -> bool:
        """Whether the run goes on from its own folder; corrects its paths."""
        folder = Path(runner.work_dir)
        if self.out_dir not in (None, runner.work_dir):
            folder = Path(self.out_dir, folder.name)
        source = Path(runner._load_from or '').parent
        is_own = runner._resume and source.resolve() == folder.resolve()
        hub = runner.message_hub
        for key, path in list(hub.runtime_info.items()):
            # The stock hook would remove the best one of another folder.
            if path and key.startswith(('best_ckpt', 'last_ckpt')):
                own = str(folder / Path(path).name) if is_own else None
                hub.update_info(key, own)
        return bool(is_own)

    def _check_accumulation(self, runner: Runner) -> None:
        """A checkpoint holds no gradients, of which some may be waiting."""
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        every = gcd(self.interval, self.save_begin)
        if self.by_epoch:
            every *= len(runner.train_dataloader)
        if self.interval > 0 and every % counts:
            raise ValueError(
                f'default_hooks.checkpoint.interval={self.interval}: a '
                f'checkpoint every {every} iterations falls between the '
                f'batches of accumulative_counts={counts}, whose gradients it '
                'does not hold; the iterations between two checkpoints must '
                f'be a multiple of {counts}'
            )
        if runner.iter % counts and runner.iter < runner.max_iters:
            raise ValueError(
                f'--resume: iteration {runner.iter} is between the batches of '
                f'accumulative_counts={counts}, whose gradients are lost; '
                f'must be a multiple of {counts}'
            )

    def _remove_leftovers(self, runner: Runner, is_own: bool) -> None:
        """Removes what a killed run left: half files, expired ones."""
        folder = Path(self.out_dir)
        for name in ('*.pth', LAST):
            for path in folder.glob(f'.{name}*.partial'):
                path.unlink(missing_ok=True)
        if not is_own:
            # Resumed from elsewhere: what lies here is of another run.
            self.file_backend.doomed.clear()
            if self.max_keep_ckpts > 0:
                self.keep_ckpt_ids.clear()
            return
        for name in runner.message_hub.get_info(EXPIRED, []):
            self.file_backend.remove(folder / name)
        self.file_backend.remove_doomed()

    def _require_finite(self, runner: Runner) -> None:
        """Broken weights are not written: the last good ones stay."""
        try:
            require_sound(unwrap(runner.model).state_dict())
        except CheckpointError as error:
            last = runner.message_hub.get_info('last_ckpt')
            raise FloatingPointError(
                f'iteration {runner.iter}: no checkpoint is written: {error}. '
                'Lower the learning rate, clip gradients, or resume from '
                f'{last or "an earlier checkpoint"}'
            ) from error

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict[str, Any]
    ) -> None:
        """Writes the checkpoint, then its name, then removes old ones."""
        self._require_finite(runner)
        ids = getattr(self, 'keep_ckpt_ids', None)
        if ids is not None and (not ids or ids[-1] != step):
            expired = []
            if len(ids) == self.max_keep_ckpts:
                expired = [self.filename_tmpl.format(ids.popleft())]
                self.file_backend.remove(Path(self.out_dir, *expired))
            ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(ids))
            # Told in the checkpoint: a kill may come before the removal.
            runner.message_hub.update_info(EXPIRED, expired)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir, name))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            # By its name: the directory can be moved.
            is_there = self.out_dir == runner.work_dir
            text = name if is_there else self.last_ckpt
            write_atomically(text.encode(), Path(runner.work_dir, LAST))
            self.file_backend.remove_doomed()

    def _save_best_checkpoint(
        self, runner: Runner, metrics: dict[str, float]
    ) -> None:
        """Writes the best checkpoint, then removes the one before."""
        self._require_finite(runner)
        super()._save_best_checkpoint(runner, metrics)
        if is_main_process():
            self.file_backend.remove_doomed()


def _validation_is_due(runner: Runner) -> bool:
    """Whether the loop validates after what is done, as mmengine does."""
    loop: Any = runner.train_loop
    is_epochs = isinstance(loop, EpochBasedTrainLoop)
    done = loop.epoch if is_epochs else loop.iter
    end = loop.max_epochs if is_epochs else loop.max_iters
    is_due = done % loop.val_interval == 0 or done == end
    return runner.val_loop is not None and done >= loop.val_begin and is_due
