"""What hooks about subnets have in common."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from eavit_mm.engine.unwrap import unwrap


class ElasticHook(Hook):
    """A hook that stays out of runs of a model without a backbone.

    mmpretrain's ``vis_scheduler.py`` runs such a stand-in for the schedule.
    """

    def before_run(self, runner: Runner) -> None:
        """Leaves the runner if there is nothing to do."""
        if not hasattr(unwrap(runner.model), 'backbone'):
            # A new list: the runner is at work on this one.
            runner._hooks = [hook for hook in runner.hooks if hook is not self]
