"""Widens the box of subnets that training draws from."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.runner import Runner

from eavit_mm.engine.hooks.elastic_hook import ElasticHook
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.options import check_flag
from eavit_mm.registry import HOOKS
from eavit_mm.space import Curriculum
from eavit_mm.space.cost_table import CostTable


@HOOKS.register_module()
class CurriculumHook(ElasticHook):
    """Curriculum elastic adaptation: small subnets enter late.

    Logs the level as ``level`` beside the losses.

    Args:
        levels: Lower bounds from an epoch or iteration on, see
            :class:`eavit_mm.space.Curriculum`.
        by_epoch: ``begin`` counts epochs, else iterations. A share of the
            training, such as 0.1, is rounded to these.

    Raises:
        ValueError: When training starts, if the levels do not fit the space
            of the model.

    Example:
        >>> dict(type='eavit_mm.CurriculumHook', levels=[
        ...     dict(begin=0),
        ...     dict(begin=10, embed_dims=704, num_heads=11)])
    """

    def __init__(
        self, levels: Sequence[Mapping[str, Any]], by_epoch: bool = True
    ) -> None:
        check_flag('by_epoch', by_epoch)
        self.levels = levels
        self.by_epoch = by_epoch
        self._level: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Builds the curriculum for the model's space, or refuses it."""
        model = elastic_model(runner.model, type(self).__name__)
        loop: Any = runner.train_loop
        end = loop.max_epochs if self.by_epoch else loop.max_iters
        space = model.backbone.space
        self.curriculum = Curriculum(space, self.levels, end)
        self._check_end(end)
        model.levels = list(
            zip(self._begins(runner), self.curriculum.levels, strict=True)
        )

    def _begins(self, runner: Runner) -> list[int]:
        """Iterations in which the levels begin, counted from this moment.

        A resumed run counts on: its epochs may be longer or shorter than
        those before, if the number of processes is another.
        """
        begins = self.curriculum.begins
        if not self.by_epoch:
            return begins
        loop: Any = runner.train_loop
        length = loop.max_iters // loop.max_epochs
        return [
            runner.iter + (begin - runner.epoch) * length for begin in begins
        ]

    def _check_end(self, end: int) -> None:
        late = [begin for begin in self.curriculum.begins if begin >= end]
        if late:
            unit = 'epoch' if self.by_epoch else 'iteration'
            raise ValueError(
                f'the curriculum has levels from {unit} {late} on, but '
                f'training ends at {end}: it cannot draw every choice of the '
                'space'
            )

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Logs the level of this moment."""
        progress = runner.epoch if self.by_epoch else runner.iter
        level = self.curriculum.index(progress)
        runner.message_hub.update_scalar('train/level', level)
        if level == self._level:
            return
        self._level = level
        model = elastic_model(runner.model, type(self).__name__)
        box = self.curriculum.levels[level].box
        low = model.macs(CostTable(box, model.backbone.macs).cheapest)['total']
        share = low / model.macs()['total']
        runner.logger.info(
            f'Curriculum level {level}: {box.size():.3g} subnets from '
            f'{share:.1%} of the MACs on'
        )
