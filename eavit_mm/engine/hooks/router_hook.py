"""The phases of stage 2: the router alone, then with the backbone."""

import logging
from typing import Any

from mmengine.runner import Runner

from eavit_mm.engine.answers import evaluate_answers, new_objectives
from eavit_mm.engine.hooks.elastic_hook import ElasticHook
from eavit_mm.engine.run_checks import reported_numbers
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.options import check_count, check_probability
from eavit_mm.registry import HOOKS


@HOOKS.register_module()
class RouterHook(ElasticHook):
    """Trains the router alone at first, then lets go of the Pareto front.

    In the warm-up only the router changes: no gradient reaches any other
    weight. Then all train together, and the weight of the distance to the
    front falls linearly to 0 at the end of training (EA-ViT, stage 2).

    At the end the members of the front and the router's answers to budgets
    are evaluated on the validation data. What is found goes into the last
    checkpoint, from which budgets are answered.

    Args:
        warmup: How long the router trains alone: iterations, or a share of
            the training such as 0.1.
        num_budgets: To evaluate the router's answers to; 0 leaves that out.

    Raises:
        ValueError: If the model has no router, ``warmup`` is not shorter than
            the training, or a validation lacks the metric of the front.

    Example:
        >>> custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=1000)]
    """

    priority = 'LOW'  # behind the update of an average, before checkpoints

    def __init__(
        self, warmup: int | float = 1000, num_budgets: int = 40
    ) -> None:
        if isinstance(warmup, float):
            check_probability('RouterHook.warmup', warmup)
        else:
            check_count('RouterHook.warmup', warmup)
        check_count('RouterHook.num_budgets', num_budgets)
        self.warmup = warmup
        self.num_budgets = num_budgets
        self._frozen: list[Any] = []
        self._checked: Any = None  # the front that can be judged

    def check_training(self, runner: Runner) -> None:
        """Raises if there is nothing to train, or to evaluate with."""
        model = elastic_model(runner.model, type(self).__name__)
        router = model.router
        if router is None:
            raise ValueError(
                'RouterHook: the model has no router; give '
                "model.router=dict(type='eavit_mm.RouterHead', "
                "front='.../pareto.json')"
            )
        if isinstance(self.warmup, float):
            self.warmup = int(self.warmup * runner.max_iters)
        if self.warmup >= runner.max_iters:
            raise ValueError(
                f'RouterHook.warmup={self.warmup}; must be less than the '
                f'{runner.max_iters} iterations of the training'
            )
        front, is_judged = router.front, self.num_budgets and runner.val_loop
        if is_judged and front is not None and front is not self._checked:
            anew = new_objectives(model, runner.cfg)
            option = 'search_cfg.metric' if anew else 'model.router.front'
            metric = anew.metric if anew else front.metric
            known = reported_numbers(runner.val_loop)
            if known is not None and metric not in known:
                raise ValueError(
                    f'{option}: answers are judged by {metric!r}; a '
                    f'validation reports the numbers {known}'
                )
            self._checked = front

    def before_train(self, runner: Runner) -> None:
        """Checks again, now that all is loaded; the router begins anew."""
        self.check_training(runner)
        router: Any = elastic_model(runner.model, type(self).__name__).router
        router.fade = (self.warmup, runner.max_iters)
        router.evaluated = {}  # of earlier weights

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Freezes all but the router, or thaws it."""
        is_warm = runner.iter >= self.warmup
        if not is_warm and not self._frozen:
            model = elastic_model(runner.model, type(self).__name__)
            self._frozen = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad and not name.startswith('router.')
            ]
            for parameter in self._frozen:
                parameter.requires_grad_(False)
        elif is_warm and self._frozen:
            for parameter in self._frozen:
                parameter.requires_grad_(True)
            self._frozen = []
            runner.logger.info('The router has warmed up: all weights train')

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """In the last iteration, before its checkpoint is written."""
        if runner.iter + 1 < runner.max_iters or not self.num_budgets:
            return
        model: Any = elastic_model(runner.model, type(self).__name__)
        if runner.val_loop is None or model.router.front is None:
            is_needed = model.router.needs_front
            runner.logger.log(
                logging.WARNING if is_needed else logging.INFO,
                'Without validation data and a Pareto front the answers of '
                'the router are not evaluated: budgets are answered by the '
                'router alone',
            )
            return
        evaluate_answers(runner, self.num_budgets)
