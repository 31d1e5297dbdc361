"""Wrong files of weights."""

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

from benchmarks.misuse.files import Attack

from .mutation import (
    REARRANGE,
    RESUME,
    SEED,
    TEST,
    TRAIN,
    Mutation,
    Spoil,
    make_folder,
    nothing,
)
from .workspace import config, write_config

# What code in a file would leave.
TRACE = 'trace_of_code'
QKV = 'backbone.layers.1.attn.qkv.weight'
HEAD = 'head.fc.weight'


# Files: what to do with the bytes.


def cut(keep: float, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])


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


def attack(kind: str, path: Path) -> None:
    """A file that leaves ``TRACE`` when a careless reader unpickles it."""
    meta = Attack(Path(TRACE))
    value = dict(state_dict={'x': torch.ones(1)}, meta=meta)
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


GONE = object()


def entry(*keys: Any, value: Any) -> Spoil:
    """Sets ``checkpoint[a][b]``, to what a function makes of it."""

    def changed(checkpoint: Any) -> None:
        inner = checkpoint
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        key = keys[-1]
        inner[key] = value(inner[key].clone()) if callable(value) else value
        if value is GONE:
            del inner[key]

    return partial(edit, changed)


def weight(name: str, change: Callable[[Any], Any]) -> Spoil:
    return entry('state_dict', name, value=change)


def fill(number: float) -> Callable[[Any], Any]:
    """Puts a number into one place of a tensor."""

    def filled(value: Any) -> Any:
        value.view(-1)[3] = number
        return value

    return filled


Flaws = dict[str, tuple[Spoil, tuple[str, ...]]]
BROKEN = ('is broken or no checkpoint',)
REFUSED = ('is refused: it asks for', 'Nothing in it was run')
NOT_FINITE = ('not finite', 'NaN or infinite')
SPACE = 'meta', 'eavit_mm', 'space'
# What is done to a file or its content, and what the error must say.
FLAWS: Flaws = {
    'empty': (partial(cut, 0.0), BROKEN),
    'folder': (make_folder, ('is a folder',)),
    'missing': (Path.unlink, ('is not there',)),
    'attack_pickle': (partial(attack, 'pickle'), BROKEN),
    'attack_zip': (partial(attack, 'zip'), REFUSED),
    'list': (partial(hold, [1, 2]), ('list',)),
    'no_dict': (entry('state_dict', value=[1]), ('list',)),
    'without_weight': (
        entry('state_dict', QKV, value=GONE),
        ('missing: ', 'qkv'),
    ),
    'extra_weight': (
        entry('state_dict', 'backbone.extra', value=torch.ones(1)),
        ('unexpected: ', 'extra'),
    ),
    'transposed': (
        weight(QKV, lambda w: w.t().contiguous()),
        ('shape', '(12, 36) for (36, 12)'),
    ),
    'nan': (weight(QKV, fill(float('nan'))), (*NOT_FINITE, 'qkv')),
    'integers': (weight(QKV, lambda w: w.long()), ('kind', 'int64')),
    'text_weight': (weight(QKV, lambda w: 'w'), ('qkv',)),
}
# Of whole checkpoints: what stands beside the weights of the backbone.
META: Flaws = {
    'meta_list': (entry('meta', value=[1]), ('meta is list', 'a dict')),
    'space_text': (
        entry(*SPACE, value='b'),
        ("meta['eavit_mm']['space'] is str", 'a dict'),
    ),
    'other_widths': (
        entry(*SPACE, 'embed_dims', value=[6, 12]),
        ('another space', "['embed_dims']", '[6, 12]', '[4, 8, 12]'),
    ),
    'space_without_axis': (
        entry(*SPACE, 'num_heads', value=GONE),
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
    'head_nan': (weight(HEAD, fill(float('nan'))), (*NOT_FINITE, HEAD)),
    'head_of_another_task': (
        weight(HEAD, lambda w: w[:3].clone()),
        ('(3, 12) for (10, 12)',),
    ),
}


def _other_moments(checkpoint: Any) -> None:
    for state in checkpoint['optimizer']['state'].values():
        state['exp_avg'] = state['exp_avg'].flatten()[:3]


CODE = f"open('{TRACE}', 'w').close()"
STATE: Flaws = {
    'no_meta': (
        entry('meta', value=GONE),
        ('not of a training run', 'load_from'),
    ),
    'other_moments': (
        partial(edit, _other_moments),
        ("optimizer['state'] has exp_avg of (3,) for a parameter of (1,",),
    ),
    'code_in_meta': (
        entry('meta', 'config', value=CODE),
        ("meta['config'] is refused", 'code'),
    ),
}


def load_from(folder: Path) -> None:
    cfg = dict(config(), load_from='trained.pth')
    write_config(folder / 'config.py', cfg)


def init_cfg(folder: Path) -> None:
    """A whole checkpoint of ours as the pretrained network."""
    shutil.copy(folder / 'trained.pth', folder / 'pretrained.pth')


# Way to read a checkpoint: command, file, preparation.
WAYS: dict[str, tuple[tuple[str, ...], str, Spoil]] = {
    'test': (TEST, 'trained.pth', nothing),
    'load_from': (TRAIN, 'trained.pth', load_from),
    'init_cfg': (TRAIN, 'pretrained.pth', init_cfg),
    'resume': (RESUME, 'trained.pth', nothing),
    'auto': ((*TRAIN, '--resume'), 'work/epoch_1.pth', nothing),
    'rearrange': (REARRANGE, 'trained.pth', nothing),
}


def _read_by(
    way: str, name: str, spoil: Spoil, words: tuple[str, ...]
) -> Mutation:
    command, file, prepare = WAYS[way]
    # Its file, and what is wrong with it.
    said = (Path(file).name, *words)
    return Mutation(f'{way}-{name}', command, file, spoil, said, prepare)


def _flat(change: Callable[[Any], Any]) -> Spoil:
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


FOREIGN, UNKNOWN = 'blocks.1.attn.qkv.weight', 'blocks.1.novelty.weight'


def _nan(state: Any) -> None:
    state[FOREIGN] = fill(float('nan'))(state[FOREIGN].clone())


def _unknown(state: Any) -> None:
    state[UNKNOWN] = torch.ones(3)


def _conversions() -> list[Mutation]:
    found = []
    for ending in ('pth', 'bin', 'safetensors', 'npz'):
        file = f'timm.{ending}'
        keep = Random(f'{SEED} {file}').random()
        command = ('convert.py', file, 'out.pth')
        flaws: Flaws = {
            f'cut_{keep:.3f}': (partial(cut, keep), (file, 'broken or no')),
            'attack': (partial(attack, 'zip'), (file,)),
            'nan': (_flat(_nan), (*NOT_FINITE, 'layers.1.attn.qkv')),
            'unknown': (_flat(_unknown), ('no place', UNKNOWN)),
        }
        found += [
            Mutation(f'convert-{file}-{name}', command, file, *flaw)
            for name, flaw in flaws.items()
        ]
    return found


def mutations() -> list[Mutation]:
    """Every flaw by one of the ways, every way with broken bytes."""
    found = []
    for way, (name, (spoil, words)) in zip(
        cycle(WAYS), FLAWS.items(), strict=False
    ):
        found.append(_read_by(way, name, spoil, words))
    for number, way in enumerate(WAYS):
        keep = Random(f'{SEED} {way}').random()
        found += [
            _read_by(way, f'cut_{keep:.3f}', partial(cut, keep), BROKEN),
            _read_by(
                way,
                'flip_weights',
                partial(flip, '/data/7', number),
                (*BROKEN, 'has changed'),
            ),
        ]
    whole = cycle(way for way in WAYS if way != 'init_cfg')
    for way, (name, (spoil, words)) in zip(whole, META.items(), strict=False):
        found.append(_read_by(way, name, spoil, words))
    for way in ('resume', 'auto'):
        for name, (spoil, words) in STATE.items():
            found.append(_read_by(way, name, spoil, words))
    return found + _conversions()
