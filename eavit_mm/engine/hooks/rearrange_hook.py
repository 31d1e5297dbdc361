"""Sorts the units of a pretrained network once, before training starts."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.runner import Runner

from eavit_mm.engine.calibration import (
    calibration_batches,
    preserved_random_state,
)
from eavit_mm.engine.checkpoint import init_cfg_meta, meta_of, naming
from eavit_mm.engine.hooks.elastic_hook import ElasticHook
from eavit_mm.engine.ranked_fitness import broadcast_from_rank_0
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.models import ElasticModelMixin
from eavit_mm.options import check_count
from eavit_mm.rearrange import (
    Criterion,
    NoCriterion,
    Permutation,
    check_sortable,
    sort_units,
)
from eavit_mm.rearrange.permute import apply_permutation
from eavit_mm.registry import HOOKS, build_part

# Where the message hub, and so every checkpoint, keeps the criterion's name.
INFO = 'eavit_mm_rearrangement'


@HOOKS.register_module()
class RearrangeHook(ElasticHook):
    """Permutes channels, heads and neurons, most important first.

    Runs after the weights are loaded, on rank 0, which tells the others; not
    on resume, and not if the loaded checkpoint says that it is rearranged.
    What the head reads is permuted only if the head was loaded.

    Args:
        criterion: Config of a :class:`eavit_mm.rearrange.Criterion`.
        num_batches: Batches of the training data to calibrate with.
        batch_size: Images of one; None: as many as in training. The terms of
            a first-order criterion cancel within a batch.

    Example:
        >>> dict(type='eavit_mm.RearrangeHook', num_batches=8,
        ...      criterion=dict(type='eavit_mm.ActivationCriterion'))
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        criterion: Mapping[str, Any],
        num_batches: int = 8,
        batch_size: int | None = None,
    ) -> None:
        check_count('num_batches', num_batches, least=1)
        if batch_size is not None:
            check_count('batch_size', batch_size, least=1)
        self.criterion = build_part('criterion', criterion, Criterion)
        self.num_batches, self.batch_size = num_batches, batch_size

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Notes a checkpoint that is rearranged already."""
        note_rearrangement(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Rearranges the model unless that has been done."""
        model = elastic_model(runner.model, type(self).__name__)
        done = runner.message_hub.get_info(INFO)
        if not done and not runner.iter:
            done = init_cfg_meta(model).get('rearrangement')
            runner.message_hub.update_info(INFO, done)
        if done or runner.iter:
            runner.logger.info(
                f'Already rearranged by {done}'
                if done
                else 'Not rearranged: training goes on, and the state of '
                'the optimizer is in the stock order'
            )
            return
        if isinstance(self.criterion, NoCriterion):
            return
        if not model.backbone_was_loaded:
            raise ValueError(
                'RearrangeHook: no pretrained weights were loaded, there is '
                'nothing to sort. Name them in model.backbone.init_cfg or '
                'load_from; to train from scratch, leave this hook out.'
            )
        with naming('RearrangeHook'):
            check_sortable(model.backbone.space)
        permutation = broadcast_from_rank_0(lambda: self._sort(runner, model))
        apply_permutation(model, permutation, model.head_was_loaded)
        name = type(self.criterion).__name__
        runner.message_hub.update_info(INFO, name)
        runner.logger.info(
            f'Rearranged by {name}'
            + ('' if model.head_was_loaded else '; the head is new')
        )

    def _sort(self, runner: Runner, model: ElasticModelMixin) -> Permutation:
        with preserved_random_state():
            batches: Iterable[Any] = ()
            if self.criterion.needs_data:
                seed, loader = runner.seed or 0, runner.train_dataloader
                batches = calibration_batches(
                    loader, self.num_batches, seed, self.batch_size
                )
            return sort_units(self.criterion.score(model, batches))


def note_rearrangement(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Keeps in mind by what a loaded checkpoint's units were sorted."""
    done = meta_of(checkpoint).get('rearrangement')
    if done:
        runner.message_hub.update_info(INFO, done)
