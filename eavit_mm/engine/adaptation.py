"""A shorter training, as a change of its config; one that learnt nothing."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from eavit_mm.options import is_int
from eavit_mm.space.pareto import standard_error


def shorten(cfg: Config, share: float) -> None:
    """Scales a training in its length, schedules and levels alike, in place.

    Args:
        cfg: The config of a training.
        share: The part of the length to keep, in (0, 1).
    """

    def scale(value: float, least: int) -> int:
        return max(least, round(value * share))

    loop = cfg.train_cfg
    length = 'max_epochs' if loop.get('max_epochs') else 'max_iters'
    whole = loop[length]
    # Every level of a curriculum takes at least one.
    hooks = cfg.get('custom_hooks') or []
    levels = max((len(h.get('levels', ())) for h in hooks), default=0)
    loop[length] = scale(loop[length], max(levels, 1))
    loop.val_interval = loop[length]
    for scheduler in cfg.get('param_scheduler') or []:
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key):
                scheduler[key] = scale(scheduler[key], 1)
    for hook in hooks:
        begin = -1
        for level in hook.get('levels', ()):
            old = level['begin']
            old = old * whole if isinstance(old, float) else old
            level['begin'] = begin = max(scale(old, 0), begin + 1)
        if is_int(hook.get('warmup')):  # else a share of the length
            hook['warmup'] = scale(hook['warmup'], 1)
    saved = cfg.default_hooks.checkpoint
    saved['interval'] = scale(saved.get('interval', 1), 1)


def near_chance(results: Mapping[str, Any], classes: int | None) -> str:
    """A line that warns where no network is clearly better than guessing.

    That is by two standard errors of the accuracy of one that guesses, were
    all classes as frequent. Else ''.

    Args:
        results: Of tools/test.py.
        classes: Of a classifier.
    """
    metric, rows = results['metric'], results['subnets']
    if metric != 'accuracy/top1' or not classes or not rows:
        return ''
    best = max(row['metrics'][metric] for row in rows)
    samples, chance = results['samples'], 100 / classes
    if best > chance + 2 * standard_error(metric, chance, samples):
        return ''
    return (
        f'None is clearly better than guessing ({chance:.1f} % of {classes} '
        'classes): the budgets are too small, the training was too short for '
        'so few images, or another network suits them better '
        '(docs/troubleshooting.md, Training).'
    )
