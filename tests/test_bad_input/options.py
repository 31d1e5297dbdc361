"""Wrong configs of both stages, wrong fronts, wrong files of a subnet."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from fronts import front_of
from mmpretrain.registry import MODELS

from .mutation import TEST, TRAIN, Mutation, Spoil, make_folder
from .workspace import SUBNET, UNIFORM, config, put, write_config

nan, inf = float('nan'), float('inf')
SAMPLER = 'model.sampler'
SPACE_AT = 'model.backbone.space'
LEVELS = 'custom_hooks.1.levels'
REARRANGE = 'custom_hooks.0'
INIT = 'model.backbone.init_cfg'
LOOP = 'val_cfg'
SPLIT = 'train_dataloader.dataset'
CHECKPOINT = 'default_hooks.checkpoint'
FROZEN = 'eavit_mm.FrozenDistillation'
INIT_FILE = f'{INIT}.checkpoint'
VAL = 'eavit_mm.SubnetValLoop'
ROUTER = 'model.router'
FRONT = 'pareto.json'

# A place in the config, the wrong value, what the error must say beside the
# option's name and the value; in a tuple: all that it must say.
WRONG: list[tuple[Any, ...]] = [
    # The space.
    (SPACE_AT, [4, 8, 12], 'must be a dict'),
    (SPACE_AT, {}, ('space: ', 'missing keys', 'valid are')),
    (f'{SPACE_AT}.embed_dims', '12', 'must be a list of different'),
    (f'{SPACE_AT}.embed_dims', [4, 8], ('embed_dims is 8', 'own is 12')),
    (
        f'{SPACE_AT}.num_heads',
        [[1, 3]] * 3,
        ('num_heads lists choices for 3 layers', 'the network has 2'),
    ),
    (f'{SPACE_AT}.num_heads', [[1, 3], []], ('layer 1: num_heads=[]',)),
    (f'{SPACE_AT}.depth', [1, 2], ('space: ', "['depth']", 'valid are')),
    (f'{SPACE_AT}.head_dims', 6, 'the network has head_dims=4'),
    # The network and its parts.
    ('model.backbone.arch.num_heads', 5, 'does not divide'),
    ('model.backbone.type', 'eavit_mm.ElasticVit', 'is not known; valid are'),
    ('model.backbone.drop_path_rate', 1.0, 'in [0, 1)'),
    ('model.data_preprocessor.mean', [1, 2, 3], 'in_channels=1'),
    ('model.head.num_classes', 3, '10 classes: must be at least 10'),
    ('model.head.in_channels', 16, 'embed_dims=12'),
    ('model.samplers', 3, "valid are ['sampler', "),
    ('model.new_head', 'no', 'True or False'),
    # The sampler.
    (SAMPLER, 'eavit_mm.UniformSampler', 'must be a dict'),
    (f'{SAMPLER}.type', 'eavit_mm.Uniform', 'eavit_mm.UniformSampler'),
    (f'{SAMPLER}.num_others', -1, 'at least 0'),
    (f'{SAMPLER}.others.num', True, 'an integer'),
    (f'{SAMPLER}.number', 3, "valid are ['num_others', "),
    # Distillation.
    ('model.distillation.loss_weight', nan, 'at least 0'),
    (
        'model.distillation',
        dict(type=FROZEN, model=dict(type='mmpretrain.ImageClassifier')),
        ('checkpoint=None', 'random weights', 'give checkpoint=FILE'),
    ),
    # The curriculum.
    (LEVELS, [], 'at least one level'),
    (f'{LEVELS}.0', 5, "a dict of 'begin'"),
    (f'{LEVELS}.1.begin', 99, ('levels from iteration [99]', 'ends at 6')),
    (f'{LEVELS}.1.embed_dims', 8, 'embed_dims >= 4'),
    (f'{LEVELS}.1.depth', 2, ("unknown keys ['depth']", 'valid are')),
    # Rearrangement.
    (f'{REARRANGE}.num_batches', 0, 'at least 1'),
    (f'{REARRANGE}.criterion', UNIFORM, 'must be a Criterion'),
    # The loops.
    (LOOP, dict(type=VAL, subnets={}), ('subnets={}', 'at least one subnet')),
    (f'{LOOP}.subnets', [0.5], 'must be a dict'),
    (f'{LOOP}.subnets.largest', 1.5, '[0, 1]'),
    (f'{LOOP}.subnets.own.embed_dims', 6, '4, 8, 12'),
    (f'{LOOP}.budgets', 0.5, 'must be a list'),
    (f'{LOOP}.budgets', [-0.5], ('budgets: ', '-0.5', 'a share in (0, 1]')),
    (
        f'{LOOP}.budgets',
        ['1MACs'],
        ('budget 1MACs', 'this space reaches 4,096'),
    ),
    (f'{LOOP}.budgets', ['5ms'], ('budgets: ', 'ms', 'latency table')),
    (f'{LOOP}.count', 'exakt', 'must be one of'),
    (f'{LOOP}.part', 'neck', "'backbone', 'head', 'total'"),
    ('test_cfg.metric', 'top1', 'accuracy/top1'),
    (f'{LOOP}.metric_scale', 0, 'positive'),
    # The data.
    (f'{SPLIT}.part', 'val', "'search', 'train'"),
    (f'{SPLIT}.parts.search', 21, '20'),
    (
        f'{SPLIT}.dataset.data_root',
        'nowhere',
        ('train_dataloader: ', 'nowhere', 'train-images-idx3-ubyte.gz'),
    ),
    # What is loaded.
    (INIT_FILE, 'nothing.pth', ('init_cfg: nothing.pth is not there', 'Put')),
    (INIT_FILE, '', ("init_cfg: ''", 'Put')),
    (INIT_FILE, 'config.py', ('config.py is broken or no checkpoint',)),
    (
        f'{INIT}.prefix',
        'encoder.',
        ('init_cfg: encoder.', "such as 'backbone.'"),
    ),
    ('load_from', 'nothing.pth', ('nothing.pth is not there',)),
    ('load_from', 'data', ('data is a folder',)),
    ('load_from', 'timm.pth', ('timm.pth: ', 'tools/convert.py')),
    ('load_from', 5, 'must be'),
    # The run.
    ('model', None, 'must be a dict'),
    (
        'optim_wrapper.optimizer.lr',
        1e30,
        ('the loss is nan for Subnet(', 'Lower the learning rate'),
    ),
    (f'{CHECKPOINT}.by_epoch', False, 'by_epoch=False in a loop of epochs'),
    (f'{CHECKPOINT}.save_best', 'acc', 'auc', 'largest/accuracy/top1'),
    ('default_hooks.supernet_meta.check_space', 'no', 'True or False'),
    ('custom_imports', dict(imports=['eavit']), ('config.py', "['eavit']")),
]
WRONG_ROUTER: list[tuple[Any, ...]] = [
    (ROUTER, 'eavit_mm.RouterHead', 'must be a dict'),
    (f'{ROUTER}.type', 'LinearClsHead', "valid are ['eavit_mm.RouterHead'"),
    (f'{ROUTER}.front', 3, 'must be a path or None'),
    (f'{ROUTER}.front', 'nothing.json', "nothing.json'; tools/search.py"),
    (f'{ROUTER}.front', 'trained.pth', ('trained.pth: ',)),
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


def stage2() -> dict[str, Any]:
    """The config of a stage 2; every option has a value that works."""
    cfg = config()
    del cfg['model']['distillation'], cfg['model']['backbone']['init_cfg']
    cfg['load_from'] = 'trained.pth'
    cfg['model']['router'] = dict(
        type='eavit_mm.RouterHead', front=FRONT, fit_steps=5
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


def _prepare_stage2(folder: Path) -> None:
    (folder / FRONT).write_text(_front())
    write_config(folder / 'config.py', stage2())


def _put(
    make: Callable[[], dict[str, Any]], place: str, value: Any, path: Path
) -> None:
    cfg = make()
    put(cfg, place, value)
    write_config(path, cfg)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _with(**changes: Any) -> Spoil:
    """Other values in a JSON file, also inside of others."""

    def changed(path: Path) -> None:
        values = json.loads(path.read_text())
        for place, value in changes.items():
            put(values, place.replace('__', '.'), value)
        path.write_text(json.dumps(values))

    return changed


def _turn_members(path: Path) -> None:
    _with(members=json.loads(path.read_text())['members'][::-1])(path)


NO_JSON = ('no JSON',)
OUTSIDE = 'is outside this space', 'another supernet'
# What is done to a file, and what the error must say beside its name. The
# words of every wrong subnet: test_space/test_subnet.py and
# test_search_space.py.
FILES: dict[str, dict[str, tuple[Spoil, tuple[str, ...]]]] = {
    'config.py': {
        'syntax': (partial(_write, b'model = dict('), ('is no config', 'nev')),
        'raises': (partial(_write, b'1 / 0'), ('is no config', 'ZeroDivis')),
        'empty': (partial(_write, b''), ('model',)),
    },
    'subnet.json': {
        'missing': (Path.unlink, ()),
        'folder': (make_folder, ()),
        'not_utf8': (partial(_write, b'\xff\xfe{}'), NO_JSON),
        'deep': (partial(_write, b'[' * 100_000), NO_JSON),
        'cut': (partial(_write, json.dumps(SUBNET)[:-1].encode()), NO_JSON),
        'depth': (_with(depth=2), ("subnet: unknown keys ['depth']",)),
        'width': (
            _with(embed_dims=6),
            ('embed_dims=6', *OUTSIDE, '4, 8, 12'),
        ),
        'heads': (
            _with(num_heads=[1, 2]),
            ("['num_heads'] must share one choice",),
        ),
        'side': (
            _with(side='suffix'),
            ("side='suffix'", "has 'prefix'"),
        ),
    },
    FRONT: {
        'cut': (lambda path: _write(path.read_bytes()[:99], path), NO_JSON),
        'other_space': (_with(space__max_off=2), ('max_off',)),
        'width': (_with(members__0__subnet__embed_dims=5), ('members[0]',)),
        'unsorted': (_turn_members, ('must be sorted by MACs',)),
    },
}


def _of_options(
    wrong: list[tuple[Any, ...]],
    make: Callable[[], dict[str, Any]],
    **prepare: Spoil,
) -> list[Mutation]:
    """One wrong option each."""
    found = []
    for place, value, *words in wrong:
        said = words[0]
        if not isinstance(said, tuple):  # then beside option and value
            said = (place.rsplit('.', 1)[-1], repr(value), *words)
        # Training evaluates late, behind its first checkpoint.
        command = TEST if place.startswith('test_') else TRAIN
        name = f'{place}={value!r}'[:80]
        spoil = partial(_put, make, place, value)
        found.append(
            Mutation(name, command, 'config.py', spoil, said, **prepare)
        )
    return found


def mutations() -> list[Mutation]:
    """One wrong option each, or a wrong file."""
    found = _of_options(WRONG, config)
    found += _of_options(WRONG_ROUTER, stage2, prepare=_prepare_stage2)
    for file, flaws in FILES.items():
        command, prepare = TRAIN, {}
        if file == FRONT:
            prepare = dict(prepare=_prepare_stage2)
        if file == 'subnet.json':
            command = (*TEST, '--subnet', file)
        for name, (spoil, words) in flaws.items():
            said = (file, *words)
            found.append(
                Mutation(
                    f'{file}-{name}', command, file, spoil, said, **prepare
                )
            )
    return found
