"""Wrong configs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .mutation import TEST, TRAIN, Mutation
from .workspace import (
    UNIFORM,
    config,
    put,
    write_config,
)

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

# Whole files.
FILES: list[tuple[str, bytes, tuple[str, ...]]] = [
    ('syntax', b'model = dict(', ('config.py is no config', 'never closed')),
    ('raises', b'1 / 0', ('config.py is no config', 'ZeroDivisionError')),
    ('empty', b'', ('config.py', 'model')),
]


def _said(place: str, value: Any, words: tuple[Any, ...]) -> tuple[str, ...]:
    if words and isinstance(words[0], tuple):
        return words[0]
    return (place.rsplit('.', 1)[-1], repr(value), *words)


def _write(change: Callable[[Any], Any], folder: Path) -> None:
    cfg = config()
    change(cfg)
    write_config(folder, cfg)


def _overwrite(data: bytes, folder: Path) -> None:
    (folder / 'config.py').write_bytes(data)


def mutations() -> list[Mutation]:
    """One wrong option each, or a wrong file."""
    found = []
    for place, value, *words in WRONG:
        spoil = partial(_write, partial(put, place=place, value=value))
        name = f'{place}={value!r}'[:80]
        said = _said(place, value, tuple(words))
        # Training evaluates late, behind its first checkpoint.
        command = TEST if place.startswith('test_') else TRAIN
        found.append(Mutation(name, command, spoil, said))
    for name, data, words in FILES:
        spoil = partial(_overwrite, data)
        found.append(Mutation(f'file_{name}', TRAIN, spoil, words))
    return found
