"""Wrong options of a router, and wrong Pareto fronts."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from fronts import front_of
from mmpretrain.registry import MODELS

from .mutation import TEST, TRAIN, Mutation
from .workspace import config, put, write_config

nan = float('nan')
ROUTER = 'model.router'
FRONT = 'pareto.json'
NAMED = f'{FRONT}: '

# A place in the config, the wrong value, what the error must say beside the
# option's name and the value.
WRONG: list[tuple[Any, ...]] = [
    (ROUTER, 'eavit_mm.RouterHead', 'must be a dict'),
    (f'{ROUTER}.type', 'LinearClsHead', "valid are ['eavit_mm.RouterHead']"),
    (f'{ROUTER}.front', 3, 'must be a path or None'),
    (f'{ROUTER}.front', 'nothing.json', "nothing.json'; tools/search.py"),
    (f'{ROUTER}.front', 'trained.pth', 'trained.pth: '),
    (f'{ROUTER}.budgets', ['flops'], 'must list some of'),
    (f'{ROUTER}.budgets', ['latency'], 'a table'),
    (f'{ROUTER}.latency_table', 'pareto.json', "'latency' and a table"),
    (f'{ROUTER}.hidden', 0, 'at least 1'),
    (f'{ROUTER}.temperature', nan, 'positive'),
    (f'{ROUTER}.budget_weight', '20', 'at least 0'),
    (f'{ROUTER}.highest', 0.01, 'above the share of the cheapest'),
    (f'{ROUTER}.skew', 'low', "router.skew='low'"),
    (f'{ROUTER}.gated_every', True, 'an integer'),
    ('custom_hooks.1.warmup', 1.5, 'in [0, 1]'),
    ('custom_hooks.1.warmup', 1000, 'must be less than the'),
    ('custom_hooks.1.num_budgets', 2.5, 'an integer'),
    ('test_cfg.by', 'fast', 'must be one of'),
]


def _with(**changes: Any) -> Callable[[str], str]:
    """The front with other values, also of its first member."""

    def changed(text: str) -> str:
        values = json.loads(text)
        for place, value in changes.items():
            put(values, place.replace('__', '.'), value)
        return json.dumps(values)

    return changed


# What is done to the front, and what the error must say.
FRONTS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    'cut': (lambda text: text[: len(text) // 2], (NAMED,)),
    'other_space': (_with(space__max_off=2), (NAMED, 'max_off')),
    'unknown_width': (
        _with(members__0__subnet__embed_dims=5),
        (NAMED, 'members[0]'),
    ),
    'unsorted': (
        lambda text: _with(members=json.loads(text)['members'][::-1])(text),
        (NAMED, 'must be sorted by MACs'),
    ),
}


def stage2() -> dict[str, Any]:
    """The config of a stage 2; every option has a value that works."""
    cfg = config()
    del cfg['model']['distillation'], cfg['model']['backbone']['init_cfg']
    cfg['load_from'] = 'trained.pth'
    cfg['model']['router'] = dict(
        type='eavit_mm.RouterHead',
        front=FRONT,
        fit_steps=5,
    )
    cfg['custom_hooks'] = [
        cfg['custom_hooks'][0],
        dict(type='eavit_mm.RouterHook', warmup=1, num_budgets=3),
    ]
    return cfg


@cache
def _front() -> str:
    """Of the network of :func:`stage2`, as if a search had found it."""
    cfg = config()['model']
    del cfg['backbone']['init_cfg']
    cfg['head']['type'] = 'mmpretrain.LinearClsHead'
    return json.dumps(front_of(MODELS.build(cfg)).to_dict())


def _prepare(folder: Path) -> None:
    (folder / FRONT).write_text(_front())
    write_config(folder, stage2())


def _write(place: str, value: Any, folder: Path) -> None:
    cfg = stage2()
    put(cfg, place, value)
    write_config(folder, cfg)


def _spoil(change: Callable[[str], str], folder: Path) -> None:
    (folder / FRONT).write_text(change(_front()))


def mutations() -> list[Mutation]:
    """One wrong option each, or a wrong front."""
    found = []
    for place, value, *words in WRONG:
        spoil = partial(_write, place, value)
        said = (place.rsplit('.', 1)[-1], *words)
        command = TEST if place.startswith('test_') else TRAIN
        name = f'{place}={value!r}'[:80]
        found.append(Mutation(name, command, spoil, said, _prepare))
    for name, (change, words) in FRONTS.items():
        spoil = partial(_spoil, change)
        found.append(Mutation(f'front_{name}', TRAIN, spoil, words, _prepare))
    return found
