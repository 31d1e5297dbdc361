"""Wrong files of weights."""

import gzip
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from .mutation import REARRANGE, RESUME, SEED, TEST, TRAIN, Mutation, nothing
from .workspace import config, write_config

# What code in a file would leave.
TRACE = 'trace_of_code'
QKV = 'backbone.layers.1.attn.qkv.weight'
HEAD = 'head.fc.weight'


class Attack:
    """Leaves a file when it is unpickled by a careless reader."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path(TRACE),)


# Files: what to do with the bytes.


def cut(keep: float, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])


def cut_end(number: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-number])


def flip(record: str, number: int, path: Path) -> None:
    """Changes one byte of a part of a zip archive."""
    with zipfile.ZipFile(path) as file:
        (entry,) = (e for e in file.infolist() if e.filename.endswith(record))
        content = file.read(entry)
    data = bytearray(path.read_bytes())
    place = Random(f'{SEED} {record} {number}').randrange(len(content))
    start = data.index(content)
    data[start + place] ^= 0xFF
    path.write_bytes(data)


def write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def compress(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / 'inside.txt').write_text('a file in a folder')


def attack(kind: str, path: Path) -> None:
    value = dict(state_dict={'x': torch.ones(1)}, meta=Attack())
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(value))
    else:
        is_zip = kind == 'zip'
        torch.save(value, path, _use_new_zipfile_serialization=is_zip)


def hold(value: Any, path: Path) -> None:
    torch.save(value, path)


def edit(change: Callable[[Any], Any], path: Path) -> None:
    """Loads a checkpoint, changes it in place, saves it again."""
    checkpoint = torch.load(path, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)


# Content: what to do with a checkpoint.


def weight(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def changed(checkpoint: Any) -> None:
        state = checkpoint['state_dict']
        state[name] = change(state[name].clone())

    return partial(edit, changed)


def entry(*keys: Any, value: Any) -> Callable[[Path], None]:
    """Sets ``checkpoint[a][b]``."""

    def changed(checkpoint: Any) -> None:
        inner = checkpoint
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = value

    return partial(edit, changed)


def without(*keys: Any) -> Callable[[Path], None]:
    def changed(checkpoint: Any) -> None:
        inner = checkpoint
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    return partial(edit, changed)


def optimizer(name: str, change: Callable[[Any], Any]) -> Callable[..., None]:
    """Changes a value of the largest parameter's state."""

    def changed(checkpoint: Any) -> None:
        states = checkpoint['optimizer']['state'].values()
        state = max(states, key=lambda s: s['exp_avg'].numel())
        state[name] = change(state[name].clone())

    return partial(edit, changed)


def fill(number: float) -> Callable[[Any], Any]:
    """Puts a number into one place of a tensor."""

    def filled(value: Any) -> Any:
        value.view(-1)[3] = number
        return value

    return filled


BROKEN = ('is broken or no checkpoint',)
REFUSED = ('is refused: it asks for', 'Nothing in it was run')
MISFIT = ('does not fit ElasticImageClassifier',)
NOT_FINITE = ('not finite', 'NaN or infinite')
FLAWS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    'empty': (partial(write, b''), BROKEN),
    'text': (partial(write, b'<!DOCTYPE html>'), BROKEN),
    'zeros': (partial(write, bytes(4096)), BROKEN),
    'git_lfs': (partial(write, b'version https://git-lfs'), BROKEN),
    'gzip': (compress, BROKEN),
    'folder': (make_folder, ('is a folder',)),
    'missing': (remove, ('is not there',)),
    'attack_pickle': (partial(attack, 'pickle'), BROKEN),
    'attack_zip': (partial(attack, 'zip'), REFUSED),
    'attack_legacy': (partial(attack, 'legacy'), REFUSED),
    'list': (partial(hold, [1, 2]), ('list',)),
    'tensor': (partial(hold, torch.ones(2)), ('Tensor',)),
    'none': (partial(hold, None), ('NoneType',)),
    'no_dict': (entry('state_dict', value=[1]), ('list',)),
    'without_weight': (without('state_dict', QKV), ('missing: ', 'qkv')),
    'extra_weight': (
        entry('state_dict', 'backbone.extra', value=torch.ones(1)),
        ('unexpected: ', 'extra'),
    ),
    'misshapen': (
        weight(QKV, lambda w: w[:-1].clone()),
        ('shape', '(35, 12) for (36, 12)'),
    ),
    'transposed': (
        weight(QKV, lambda w: w.t().contiguous()),
        ('shape', '(12, 36) for (36, 12)'),
    ),
    'nan': (weight(QKV, fill(float('nan'))), (*NOT_FINITE, 'qkv')),
    'inf': (weight(QKV, fill(float('inf'))), (*NOT_FINITE, 'qkv')),
    'minus_inf': (weight(QKV, fill(-float('inf'))), (*NOT_FINITE, 'qkv')),
    'half_overflow': (
        weight(QKV, lambda w: (w * 1e9).half()),
        (*NOT_FINITE, 'qkv'),
    ),
    'integers': (weight(QKV, lambda w: w.long()), ('kind', 'int64')),
    'bools': (weight(QKV, lambda w: w > 0), ('kind', 'bool')),
    'complex': (weight(QKV, lambda w: w * 1j), ('kind', 'complex64')),
    'sparse': (weight(QKV, lambda w: w.to_sparse()), ('sparse',)),
    'on_meta': (weight(QKV, lambda w: w.to('meta')), ('meta',)),
    'text_weight': (weight(QKV, lambda w: 'w'), ('qkv',)),
    'nested': (weight(QKV, lambda w: dict(w=w)), ('qkv',)),
}
# Of whole checkpoints: what stands beside the weights.
SPACE = 'meta', 'eavit_mm', 'space'
META: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    'meta_list': (entry('meta', value=[1]), ('meta is list', 'a dict')),
    'meta_text': (entry('meta', value='x'), ('meta is str', 'a dict')),
    'ours_list': (
        entry('meta', 'eavit_mm', value=[1]),
        ("meta['eavit_mm'] is list", 'a dict'),
    ),
    'space_text': (
        entry(*SPACE, value='b'),
        ("meta['eavit_mm']['space'] is str", 'a dict'),
    ),
    'other_widths': (
        entry(*SPACE, 'embed_dims', value=[6, 12]),
        ('another space', "['embed_dims']", '[6, 12]', '[4, 8, 12]'),
    ),
    'other_max_off': (
        entry(*SPACE, 'max_off', value=3),
        ('another space', "['max_off']", '3'),
    ),
    'space_without_axis': (
        without(*SPACE, 'num_heads'),
        ('another space', "['num_heads']", 'None'),
    ),
    'rearranged_by_number': (
        entry('meta', 'eavit_mm', 'rearrangement', value=5),
        ("['rearrangement']=5", 'name of a criterion'),
    ),
    'name_is_number': (
        entry('state_dict', 7, value=torch.ones(1)),
        ('7 is no name of a weight',),
    ),
    'state_none': (entry('state_dict', value=None), ('NoneType', 'a dict')),
    'state_missing': (without('state_dict'), MISFIT),
    'state_empty': (entry('state_dict', value={}), ('holds no weights',)),
    'head_nan': (weight(HEAD, fill(float('nan'))), (*NOT_FINITE, HEAD)),
    'head_of_another_task': (
        weight(HEAD, lambda w: w[:3].clone()),
        ('(3, 12) for (10, 12)',),
    ),
}
# What init_cfg does not look at, or takes for a plain state dict.
_NOT_OF_A_BACKBONE = (
    'name_is_number',
    'state_missing',
    'head_nan',
    'head_of_another_task',
)
CODE = f"open('{TRACE}', 'w').close()"
STATE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    'no_meta': (without('meta'), ('not of a training run', 'load_from')),
    'no_iter': (without('meta', 'iter'), ('not of a training run',)),
    'epoch_text': (
        entry('meta', 'epoch', value='1'),
        ("meta['epoch']='1'", 'an integer'),
    ),
    'iter_negative': (
        entry('meta', 'iter', value=-3),
        ("meta['iter']=-3", 'an integer'),
    ),
    'iter_bool': (
        entry('meta', 'iter', value=True),
        ("meta['iter']=True", 'an integer'),
    ),
    'code_in_meta': (
        entry('meta', 'config', value=CODE),
        ("meta['config'] is refused", 'code'),
    ),
    'no_optimizer': (without('optimizer'), ('optimizer is NoneType',)),
    'optimizer_list': (
        entry('optimizer', value=[]),
        ('optimizer is list', 'state: dict, param_groups: list'),
    ),
    'optimizer_without_groups': (
        without('optimizer', 'param_groups'),
        ("['param_groups'] missing",),
    ),
    'optimizer_of_two_groups': (
        partial(
            edit,
            lambda c: c['optimizer']['param_groups'].append(
                c['optimizer']['param_groups'][0]
            ),
        ),
        ('groups of [32, 32] parameters', '[32]'),
    ),
    'optimizer_of_fewer_parameters': (
        partial(
            edit, lambda c: c['optimizer']['param_groups'][0]['params'].pop()
        ),
        ('groups of [31] parameters', '[32]'),
    ),
    'momentum_misshapen': (
        optimizer('exp_avg', lambda m: m[:-1].clone()),
        ("optimizer's exp_avg", 'must be', 'load_from=FILE'),
    ),
    'momentum_nan': (
        optimizer('exp_avg_sq', fill(float('nan'))),
        ("optimizer's exp_avg_sq", 'finite', 'load_from=FILE'),
    ),
    'no_hub': (without('message_hub'), ('message_hub is NoneType',)),
    'hub_list': (entry('message_hub', value=[1]), ('message_hub is list',)),
    'hub_without_scalars': (
        without('message_hub', 'log_scalars'),
        ("['log_scalars'] missing",),
    ),
}


def load_from(folder: Path) -> None:
    cfg = config()
    cfg['load_from'] = 'trained.pth'
    write_config(folder, cfg)


def init_cfg(folder: Path) -> None:
    """A whole checkpoint of ours as the pretrained network."""
    shutil.copy(folder / 'trained.pth', folder / 'pretrained.pth')


# Way to read a checkpoint: command, file, preparation.
WAYS: dict[str, tuple[tuple[str, ...], str, Callable[[Path], None]]] = {
    'test': (TEST, 'trained.pth', nothing),
    'load_from': (TRAIN, 'trained.pth', load_from),
    'init_cfg': (TRAIN, 'pretrained.pth', init_cfg),
    'resume': (RESUME, 'trained.pth', nothing),
    'auto': ((*TRAIN, '--resume'), 'work/epoch_1.pth', nothing),
    'rearrange': (REARRANGE, 'trained.pth', nothing),
}


def _read_by(
    way: str,
    name: str,
    spoil: Callable[[Path], None],
    words: tuple[str, ...],
) -> Mutation:
    command, file, prepare = WAYS[way]

    def spoiled(folder: Path) -> None:
        spoil(folder / file)

    # Its file, and what is wrong with it.
    said = (Path(file).name, *words)
    return Mutation(f'{way}-{name}', command, spoiled, said, prepare)


def _convert(
    file: str,
    name: str,
    spoil: Callable[[Path], None],
    words: tuple[str, ...],
) -> Mutation:
    def spoiled(folder: Path) -> None:
        spoil(folder / file)

    command = ('convert.py', file, 'out.pth')
    return Mutation(f'convert-{file}-{name}', command, spoiled, words)


def _flat(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Edits a file of timm's, of any format."""

    def changed(path: Path) -> None:
        if path.suffix == '.safetensors':
            state = load_file(path)
            change(state)
            save_file(state, path)
        elif path.suffix == '.npz':
            with np.load(path) as file:
                state = {k: torch.from_numpy(file[k]) for k in file.files}
            change(state)
            arrays = {k: v.numpy() for k, v in state.items()}
            np.savez(path, **arrays)
        else:
            edit(change, path)

    return changed


FOREIGN = 'blocks.1.attn.qkv.weight'


def _nan(state: Any) -> None:
    state[FOREIGN] = fill(float('nan'))(state[FOREIGN].clone())


def _incomplete(state: Any) -> None:
    del state[FOREIGN]


def _distilled(state: Any) -> None:
    state['dist_token'] = torch.ones(1, 1, 12)


def _unknown(state: Any) -> None:
    state['blocks.1.novelty.weight'] = torch.ones(3)


def _conversions() -> list[Mutation]:
    found = []
    for ending in ('pth', 'bin', 'safetensors', 'npz'):
        file = f'timm.{ending}'
        keep = Random(f'{SEED} {file}').random()
        broken = (file, 'is broken or no')
        for name, spoil, words in [
            ('empty', partial(write, b''), broken),
            ('garbage', partial(write, Random(SEED).randbytes(999)), broken),
            (f'cut_{keep:.3f}', partial(cut, keep), broken),
            ('attack', partial(attack, 'zip'), (file,)),
            ('folder', make_folder, (file, 'is a folder')),
            ('nan', _flat(_nan), (*NOT_FINITE, 'layers.1.attn.qkv')),
        ]:
            found.append(_convert(file, name, spoil, words))
    for name, change, words in [
        ('incomplete', _incomplete, ('are missing', 'layers.1.attn.qkv')),
        ('distilled', _distilled, ('dist_token', 'a distilled DeiT')),
        ('unknown', _unknown, ('no place', 'blocks.1.novelty.weight')),
    ]:
        found.append(_convert('timm.pth', name, _flat(change), words))
    return found


def mutations() -> list[Mutation]:
    """Every flaw by some of the ways, every way with some of the flaws."""
    ways = list(WAYS)
    found = []
    for number, (name, (spoil, words)) in enumerate(FLAWS.items()):
        # Every pair of ways in turn.
        for place in (number, number + 1 + number // len(ways)):
            way = ways[place % len(ways)]
            found.append(_read_by(way, name, spoil, words))
    for number, way in enumerate(WAYS):
        keep = Random(f'{SEED} {way}').random()
        found += [
            _read_by(way, f'cut_{keep:.3f}', partial(cut, keep), BROKEN),
            _read_by(way, 'cut_by_a_byte', partial(cut_end, 1), BROKEN),
            _read_by(
                way,
                'flip_weights',
                partial(flip, '/data/7', number),
                (*BROKEN, 'has changed'),
            ),
            _read_by(
                way, 'flip_pickle', partial(flip, '/data.pkl', number), BROKEN
            ),
        ]
    whole = cycle(('test', 'load_from', 'resume', 'init_cfg', 'rearrange'))
    for name, (spoil, words) in META.items():
        way = next(whole)
        # Of its file init_cfg reads the backbone alone.
        if way == 'init_cfg' and name in _NOT_OF_A_BACKBONE:
            way = next(whole)
        found.append(_read_by(way, name, spoil, words))
    for (name, (spoil, words)), way in zip(
        STATE.items(), cycle(('resume', 'auto')), strict=False
    ):
        found.append(_read_by(way, name, spoil, words))
    return found + _conversions()
