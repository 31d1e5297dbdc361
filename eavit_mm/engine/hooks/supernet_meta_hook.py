"""Writes into a checkpoint what a supernet is."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from eavit_mm.engine.checkpoint import (
    check_resumable,
    check_space,
    init_cfg_meta,
    meta_of,
    supernet_meta,
)
from eavit_mm.engine.hooks.rearrange_hook import INFO, note_rearrangement
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.models import ElasticModelMixin
from eavit_mm.options import check_flag
from eavit_mm.registry import HOOKS


@HOOKS.register_module()
class SupernetMetaHook(Hook):
    """Adds ``meta['eavit_mm']`` to checkpoints, and reads it back.

    Args:
        check_space: Refuse checkpoints that were trained for another space.
            Switch it off to go on training in a wider one.

    Raises:
        ValueError: While loading, if the space differs, or if a training
            cannot go on from the checkpoint.
    """

    def __init__(self, check_space: bool = True) -> None:
        check_flag('check_space', check_space)
        self.check_space = check_space

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Compares the spaces; refuses to resume from plain weights."""
        model = unwrap(runner.model)
        note_rearrangement(runner, checkpoint)
        if runner._resume:
            check_resumable(checkpoint, runner.param_schedulers)
        if self.check_space and isinstance(model, ElasticModelMixin):
            check_space(model, meta_of(checkpoint))

    def before_train(self, runner: Runner) -> None:
        """Says so if training starts from random weights."""
        model = unwrap(runner.model)
        if not isinstance(model, ElasticModelMixin) or runner.iter:
            return
        if not model.backbone_was_loaded:
            runner.logger.warning(
                'No pretrained weights were loaded: this supernet trains '
                'from scratch'
            )
        elif self.check_space:
            check_space(model, init_cfg_meta(model))

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Space, rearrangement and stage."""
        model = unwrap(runner.model)
        if isinstance(model, ElasticModelMixin):
            done = runner.message_hub.get_info(INFO)
            stage = 1 if model.router is None else 2
            checkpoint['meta']['eavit_mm'] = supernet_meta(model, done, stage)
