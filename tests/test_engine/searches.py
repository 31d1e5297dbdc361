"""A search of seconds: ViT-mini on the digits."""

from pathlib import Path
from typing import Any

from .forked_tools import ROOT, Done, run

DIGITS = ROOT / 'configs' / 'eavit' / 'vitmini_digits.py'
FILES = ('evaluations.jsonl', 'pareto.json')
EVALUATIONS = 28
TRAINING = (
    DIGITS,
    '--cfg-options',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=9',
    'default_hooks.checkpoint.interval=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'custom_hooks.0.num_batches=2',
    'custom_hooks.1.by_epoch=False',
    'custom_hooks.1.levels.1.begin=3',
    'custom_hooks.1.levels.2.begin=6',
)
# Three generations of eight, written by four, and the rest of a fourth.
SEARCH = (
    f'search_cfg.max_evaluations={EVALUATIONS}',
    'search_cfg.algorithm.type=eavit_mm.NSGA2',
    'search_cfg.algorithm.pop_size=8',
    'search_cfg.threads=1',
)


def search(
    checkpoint: Path,
    folder: Path,
    *args: Any,
    options: tuple[str, ...] = (),
    config: Path = DIGITS,
    **kwargs: Any,
) -> Done:
    """Runs tools/search.py; options come after those of ``SEARCH``."""
    command = ('search.py', config, checkpoint, '--work-dir', folder, *args)
    return run(*command, '--cfg-options', *SEARCH, *options, **kwargs)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}
