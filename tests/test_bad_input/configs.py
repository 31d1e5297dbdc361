"""Wrong configs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .mutation import TEST, TRAIN, Mutation
from .workspace import (
    LISTED,
    STRATIFIED,
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
    (f'{SPACE_AT}.embed_dims', [], 'at least one width'),
    (f'{SPACE_AT}.embed_dims', None, 'must be a list of widths'),
    (f'{SPACE_AT}.embed_dims', '12', 'must be a list of widths'),
    (f'{SPACE_AT}.embed_dims', 12, 'must be a list of widths'),
    (f'{SPACE_AT}.embed_dims', [4, -8, 12], 'positive integer'),
    (f'{SPACE_AT}.embed_dims', [4, 8.5, 12], 'positive integer'),
    (f'{SPACE_AT}.embed_dims', [4, True, 12], 'positive integer'),
    (f'{SPACE_AT}.embed_dims', [4, 4, 12], 'stands twice'),
    (f'{SPACE_AT}.embed_dims', [4, 8], ('embed_dims is 8', 'own is 12')),
    (
        f'{SPACE_AT}.embed_dims',
        [4, 8, 12, 16],
        ('embed_dims is 16', 'own is 12'),
    ),
    (f'{SPACE_AT}.num_heads', [0, 1, 3], 'max_off'),
    (f'{SPACE_AT}.num_heads', [1, None, 3], 'positive integer'),
    (f'{SPACE_AT}.num_heads', [1, 2, 4], ('num_heads is (4, 4)', '(3, 3)')),
    (
        f'{SPACE_AT}.num_heads',
        [[1, 3]] * 3,
        ('num_heads lists choices for 3 layers', 'the network has 2'),
    ),
    (f'{SPACE_AT}.num_heads', [[1, 3], []], ('layer 1: num_heads=[]',)),
    (f'{SPACE_AT}.feedforward_channels', [5, '10'], 'positive integer'),
    (f'{SPACE_AT}.feedforward_channels', [5, nan], 'positive integer'),
    (f'{SPACE_AT}.max_off', -1, 'an integer from 0 to 4'),
    (f'{SPACE_AT}.max_off', 5, 'an integer from 0 to 4'),
    (f'{SPACE_AT}.max_off', '1', 'an integer from 0 to 4'),
    (f'{SPACE_AT}.max_off', None, 'an integer from 0 to 4'),
    (f'{SPACE_AT}.shared', 'num_heads', 'must be a list'),
    (f'{SPACE_AT}.shared', ['heads'], 'must be one of'),
    (f'{SPACE_AT}.ties', [['num_heads']], 'two axes or more'),
    (
        f'{SPACE_AT}.ties',
        ['num_heads'],
        ("ties='num_heads'", 'must be a list'),
    ),
    (f'{SPACE_AT}.ties', 3, 'must be a list'),
    (f'{SPACE_AT}.shared', [['num_heads']], 'must be one of'),
    (
        f'{SPACE_AT}.ties',
        [['num_heads', 'feedforward_channels']],
        ('ties', "['num_heads', 'feedforward_channels']", 'number'),
    ),
    (f'{SPACE_AT}.depth', [1, 2], ('space: ', "['depth']", 'valid are')),
    (f'{SPACE_AT}.head_dims', 6, 'the network has head_dims=4'),
    (f'{SPACE_AT}.num_layers', 3, 'the network has num_layers=2'),
    # The network and its parts.
    ('model.backbone.arch.num_heads', 5, 'does not divide'),
    ('model.backbone.arch.num_layers', 0, 'num_layers'),
    ('model.backbone.arch', 'vit-z', 'default archs'),
    ('model.backbone.spaces', [4, 8], 'valid are'),
    (
        'model.backbone.type',
        'mmpretrain.VisionTransformer',
        ('space=', 'no option of VisionTransformer', 'valid are'),
    ),
    ('model.backbone.type', 'eavit_mm.ElasticVit', 'known are'),
    ('model.backbone.patch_size', 0, 'division by zero'),
    ('model.backbone.drop_path_rate', 2.0, 'in [0, 1)'),
    ('model.backbone.drop_path_rate', 1.0, 'in [0, 1)'),
    ('model.backbone.drop_path_rate', -0.5, 'in [0, 1)'),
    ('model.data_preprocessor.mean', [1, 2, 3], 'in_channels=1'),
    ('model.data_preprocessor.std', [1, 2], 'in_channels=1'),
    ('model.head.num_classes', 3, '10 classes: must be at least 10'),
    ('model.head.in_channels', 16, 'embed_dims=12'),
    (
        'model.head.type',
        'mmpretrain.ArcFaceClsHead',
        ('ArcFaceClsHead', 'known are'),
    ),
    ('model.type', 'eavit_mm.ElasticClassifier', 'known are'),
    ('model.samplers', 3, 'valid are'),
    ('model.new_head', 'no', 'True or False'),
    ('model.draw_per_rank', 2, 'True or False'),
    # The sampler.
    (SAMPLER, 'eavit_mm.UniformSampler', 'must be a dict'),
    (SAMPLER, dict(num=1), "'type'"),
    (f'{SAMPLER}.type', 'eavit_mm.Uniform', 'known are'),
    (f'{SAMPLER}.num_others', -1, 'at least 0'),
    (f'{SAMPLER}.num_others', 1.5, 'an integer'),
    (f'{SAMPLER}.others', 'uniform', 'must be a dict'),
    (f'{SAMPLER}.others.num', 0, 'at least 1'),
    (f'{SAMPLER}.others.num', True, 'an integer'),
    (f'{SAMPLER}.number', 3, 'valid are'),
    # Distillation.
    ('model.distillation', 0.5, 'must be a dict'),
    ('model.distillation.type', 'eavit_mm.Distillation', 'known are'),
    ('model.distillation.loss_weight', -1, 'at least 0'),
    ('model.distillation.loss_weight', nan, 'at least 0'),
    ('model.distillation.task_weight', None, 'at least 0'),
    ('model.distillation.task_weight', inf, 'at least 0'),
    ('model.distillation.temperature', 0, 'positive'),
    ('model.distillation.temperature', '2', 'positive'),
    ('model.distillation.tau', 2.0, 'valid are'),
    (
        'model.distillation',
        dict(type=FROZEN, checkpoint=5),
        ('checkpoint=5', 'must be a path or None'),
    ),
    (
        'model.distillation',
        dict(type=FROZEN, model='resnet'),
        ("model='resnet'", 'must be a dict'),
    ),
    (
        'model.distillation',
        dict(type=FROZEN, model=dict(type='mmpretrain.ImageClassifier')),
        ('checkpoint=None', 'random weights', 'give checkpoint=FILE'),
    ),
    # The curriculum.
    (LEVELS, [], 'at least one level'),
    (LEVELS, None, 'at least one level'),
    (LEVELS, dict(begin=0), 'at least one level'),
    (f'{LEVELS}.0', 5, "a dict with 'begin'"),
    (f'{LEVELS}.0.begin', 1, 'must be 0'),
    (f'{LEVELS}.0.begin', None, 'must be 0'),
    (f'{LEVELS}.1.begin', 0, 'at least 1'),
    (f'{LEVELS}.1.begin', 0.5, 'an integer'),
    (f'{LEVELS}.1.begin', 99, ('levels from iteration [99]', 'ends at 6')),
    (f'{LEVELS}.1.embed_dims', 8, 'embed_dims >= 4'),
    (f'{LEVELS}.1.embed_dims', [4], 'an integer'),
    (f'{LEVELS}.0.embed_dims', 13, 'the largest is 12'),
    (f'{LEVELS}.1.num_heads', -1, 'at least 0'),
    (f'{LEVELS}.1.max_off', 2, 'max_off=1'),
    (f'{LEVELS}.1.p_off', 1.5, '[0, 1]'),
    (f'{LEVELS}.1.p_off', nan, '[0, 1]'),
    (f'{LEVELS}.1.p_off', '0.5', '[0, 1]'),
    (f'{LEVELS}.1.depth', 2, ("unknown keys ['depth']", 'valid are')),
    ('custom_hooks.1.by_epoch', 'no', 'True or False'),
    ('custom_hooks.1.epochs', 3, 'valid are'),
    ('custom_hooks.1.type', 'eavit_mm.Curriculum', 'known are'),
    # Rearrangement.
    (f'{REARRANGE}.num_batches', 0, 'at least 1'),
    (f'{REARRANGE}.num_batches', -2, 'at least 1'),
    (f'{REARRANGE}.num_batches', 1.5, 'integer'),
    (f'{REARRANGE}.num_batches', '8', 'integer'),
    (f'{REARRANGE}.num_batches', None, 'integer'),
    (f'{REARRANGE}.criterion', 'activation', 'must be a dict'),
    (f'{REARRANGE}.criterion', {}, "'type'"),
    (f'{REARRANGE}.criterion.type', 'eavit_mm.Activation', 'known are'),
    (f'{REARRANGE}.criterion', UNIFORM, 'must be a Criterion'),
    (
        'model.sampler',
        dict(type='eavit_mm.NoCriterion'),
        'must be a SubnetSampler',
    ),
    # The loops.
    (LOOP, dict(type=VAL, subnets={}), ('subnets={}', 'at least one subnet')),
    (f'{LOOP}.subnets', [0.5], 'must be a dict'),
    (f'{LOOP}.subnets', 'largest', 'must be a dict'),
    (f'{LOOP}.subnets.largest', 1.5, '[0, 1]'),
    (f'{LOOP}.subnets.largest', nan, '[0, 1]'),
    (f'{LOOP}.subnets.largest', 'biggest', "'largest', 'smallest'"),
    (f'{LOOP}.subnets.largest', True, "'largest', 'smallest'"),
    (f'{LOOP}.subnets.own.embed_dims', 6, '4, 8, 12'),
    (
        f'{LOOP}.subnets.own.num_heads',
        [2],
        ('subnets: own', 'num_heads has 1 layers', 'channels 2'),
    ),
    (f'{LOOP}.budgets', '0.5', 'must be a list'),
    (f'{LOOP}.budgets', 0.5, 'must be a list'),
    (f'{LOOP}.budgets', [None], ('budgets: ', 'None', 'a share in (0, 1]')),
    (f'{LOOP}.budgets', [-0.5], ('budgets: ', '-0.5', 'a share in (0, 1]')),
    (f'{LOOP}.budgets', ['1e-6'], ('budgets: ', '1e-6', 'a share in')),
    (
        f'{LOOP}.budgets',
        ['1MACs'],
        ('budget 1MACs', 'this space reaches 4,096'),
    ),
    (f'{LOOP}.budgets', ['5ms'], ('budgets: ', 'ms', 'latency table')),
    (f'{LOOP}.count', 'exakt', 'must be one of'),
    (f'{LOOP}.part', 'neck', "'backbone', 'head', 'total'"),
    ('test_cfg.metric', 'top1', 'accuracy/top1'),
    ('test_cfg.budgets', [1e-9], ('cannot be reached', '21.7% to 100 %')),
    (f'{LOOP}.metric_scale', '0.01', 'positive'),
    (f'{LOOP}.metric_scale', 0, 'positive'),
    (f'{LOOP}.metric_scale', nan, 'positive'),
    (f'{LOOP}.type', 'eavit_mm.SubnetLoop', 'known are'),
    (f'{LOOP}.subnet', 0.5, 'valid are'),
    # The data.
    (f'{SPLIT}.part', 'val', "'search', 'train'"),
    (f'{SPLIT}.part', None, "'search', 'train'"),
    (f'{SPLIT}.part', ['train'], "'search', 'train'"),
    (f'{SPLIT}.parts', ['train'], 'must be a dict'),
    (f'{SPLIT}.parts.search', 21, '20'),
    (f'{SPLIT}.parts.search', 0, 'positive'),
    (f'{SPLIT}.parts.search', None, 'at most one None'),
    (f'{SPLIT}.parts.search', '8', 'integer'),
    (f'{SPLIT}.parts.search', 0.4, 'integer'),
    (f'{SPLIT}.seed', -1, 'at least 0'),
    (f'{SPLIT}.seed', 'a', 'at least 0'),
    (f'{SPLIT}.balanced', 'yes', 'True or False'),
    (f'{SPLIT}.dataset', None, 'must be a dict'),
    (f'{SPLIT}.dataset.type', 'eavit_mm.Fashion', 'known are'),
    (
        f'{SPLIT}.dataset.data_root',
        'nowhere',
        ('nowhere', 'train-images-idx3-ubyte.gz', 'Get the four'),
    ),
    (f'{SPLIT}.dataset.data_root', None, 'data_root'),
    (f'{SPLIT}.dataset.split', 'val', 'split'),
    (f'{SPLIT}.shuffle', True, 'valid are'),
    ('train_dataloader.batch_size', 0, 'batch_size'),
    # What is loaded.
    (INIT_FILE, 'nothing.pth', ('init_cfg: nothing.pth is not there', 'Put')),
    (INIT_FILE, 'data', ('init_cfg: data is a folder', 'Put')),
    (INIT_FILE, None, ("init_cfg: ''", 'Put')),
    (INIT_FILE, '', ("init_cfg: ''", 'Put')),
    (INIT_FILE, 'config.py', ('config.py is broken or no checkpoint',)),
    (INIT_FILE, 'subnet.json', ('subnet.json is broken or no checkpoint',)),
    (
        f'{INIT}.prefix',
        'encoder.',
        ('init_cfg: encoder.', "such as 'backbone.'"),
    ),
    (f'{INIT}.prefix', None, ('pretrained.pth', "give prefix='backbone.'")),
    (f'{INIT}.type', 'Pretraind', 'known are'),
    ('load_from', 'nothing.pth', ('nothing.pth is not there',)),
    ('load_from', 'data', ('data is a folder',)),
    ('load_from', 'timm.pth', ('timm.pth: ', 'tools/convert.py')),
    ('load_from', 'timm.npz', ('timm.npz is broken or no checkpoint',)),
    ('load_from', 5, 'must be'),
    # The run.
    ('model', None, 'must be a dict'),
    ('train_dataloader', None, 'train_dataloader'),
    ('optim_wrapper', None, 'optim_wrapper'),
    (
        'optim_wrapper.optimizer.lr',
        1e30,
        ('the loss is nan for Subnet(', 'Lower the learning rate'),
    ),
    ('optim_wrapper.accumulative_counts', 1.5, 'must be an integer'),
    ('optim_wrapper.accumulative_counts', '2', 'must be an integer'),
    ('param_scheduler', 'cosine', 'must be', 'a dict or a list or None'),
    ('param_scheduler.0.end', '1', 'param_scheduler.0', 'an integer'),
    ('param_scheduler.0.type', 'Cosine', 'known are', 'CosineAnnealingLR'),
    ('param_scheduler.0.type', 'Zzz', 'known are', 'LinearLR'),
    ('randomness', 'a', 'must be a dict'),
    ('randomness', [1], 'must be a dict'),
    ('randomness.seed', 'a', 'randomness.', 'an integer or None'),
    ('randomness.seed', 0.5, 'randomness.', 'an integer or None'),
    ('randomness.sed', 1, 'valid are', "'seed'"),
    ('train_cfg.val_interval', '1', 'train_cfg.', 'an integer'),
    ('default_hooks.checkpoint.type', 'eavit_mm.Checkpoint', 'known are'),
    (f'{CHECKPOINT}.interval', '1', CHECKPOINT, 'must be an integer'),
    (f'{CHECKPOINT}.interval', nan, CHECKPOINT, 'must be an integer'),
    (f'{CHECKPOINT}.max_keep_ckpts', '1', 'must be an integer'),
    (f'{CHECKPOINT}.by_epoch', 'no', 'True or False'),
    (f'{CHECKPOINT}.save_best', 'acc', 'auc', 'largest/accuracy/...'),
    (f'{CHECKPOINT}.save_best', 'accuracy/top1', 'largest/accuracy/...'),
    (f'{CHECKPOINT}.save_best', 'small/acc', 'small/accuracy/...'),
    ('default_hooks.supernet_meta.check_space', 'no', 'True or False'),
    ('default_hooks.supernet_meta.strict', True, 'valid are'),
    ('train_cfg.max_epochs', 0, ('training ends at 0',)),
    ('val_evaluator.type', 'Acuracy', 'mmpretrain.Accuracy'),
    ('custom_imports', dict(imports=['eavit']), ('config.py', "['eavit']")),
]


# Samplers of which the base config has none: a field, its wrong value.
OTHERS: list[tuple[Any, ...]] = [
    (UNIFORM, 'num', -1, 'at least 1'),
    (UNIFORM, 'num', '2', 'an integer'),
    (STRATIFIED, 'jitter', -1, 'at least 0'),
    (STRATIFIED, 'jitter', 0.5, 'an integer'),
    (LISTED, 'subnets', [], 'at least one subnet'),
    (LISTED, 'subnets', 'largest', 'at least one subnet'),
    (LISTED, 'subnets', [2.0, 'largest'], ('s=2.0', '[0, 1]')),
    (LISTED, 'weights', [1], '2 positive numbers'),
    (LISTED, 'weights', [1, -1], '2 positive numbers'),
    (LISTED, 'weights', [1, nan], '2 positive numbers'),
    (LISTED, 'weights', 'even', '2 positive numbers'),
    (LISTED, 'weights', [1, None], '2 positive numbers'),
    (LISTED, 'num', 0, 'at least 1'),
]
# Whole files.
FILES: list[tuple[str, bytes, tuple[str, ...]]] = [
    ('syntax', b'model = dict(', ('config.py is no config', 'never closed')),
    ('binary', bytes(range(256)), ('config.py is no config',)),
    ('base', b"_base_ = ['./nothing.py']", ('nothing.py',)),
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
    for sampler, field, value, *words in OTHERS:
        good = partial(put, place=SAMPLER, value=sampler)
        bad = partial(put, place=SAMPLER, value={**sampler, field: value})
        said = _said(field, value, tuple(words))
        name = f'{sampler["type"]}.{field}={value!r}'
        spoil, prepare = partial(_write, bad), partial(_write, good)
        found.append(Mutation(name, TRAIN, spoil, said, prepare))
    for name, data, words in FILES:
        spoil = partial(_overwrite, data)
        found.append(Mutation(f'file_{name}', TRAIN, spoil, words))
    return found
