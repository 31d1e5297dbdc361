"""Files put wrong: work directories, weights, fronts, code in files."""

import json
import pickle
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.misuse.workspace import (
    ADAPT,
    ADAPTED,
    PRETRAINED,
    TRACE,
    Case,
    Workspace,
    difference,
    state_of,
)

# The work directory of an adaptation.


def _spoil(rng: Random, path: Path) -> str:
    """Breaks a file at a random place; says how."""
    data = path.read_bytes()
    how = rng.choice(['cut', 'changed a byte of', 'emptied', 'removed'])
    if how == 'cut':
        path.write_bytes(data[: rng.randrange(len(data) or 1)])
    elif how == 'changed a byte of' and data:
        place = rng.randrange(len(data))
        path.write_bytes(
            data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        )
    elif how == 'emptied':
        path.write_bytes(b'')
    else:
        path.unlink()
    return how


def work_directory(rng: Random, space: Workspace) -> Case:
    """A finished adaptation, spoilt; the same command, or another one."""
    space.take('adapted')
    folder, extra, changed = space.folder / 'adapted', (), False
    done = space.whole / 'adapted'
    if rng.random() < 0.6:
        files = sorted(p for p in folder.rglob('*') if p.is_file())
        path = rng.choice(files)
        name = path.relative_to(folder)
        text = f'{_spoil(rng, path)} {name}'
    else:
        ways: list[tuple[str, ...]] = [
            ('--cfg-options', 'optim_wrapper.optimizer.lr=0.01'),
            ('--cfg-options', 'model.sampler.type=eavit_mm.UniformSampler'),
            ('--cfg-options', 'randomness.seed=7'),
            ('--quick',),
            ('--format', 'pth', 'onnx'),
        ]
        extra = rng.choice([*ways, ()])
        changed = bool(extra) and extra[0] != '--format'
        text = ' '.join(extra) or 'moved'
    if rng.random() < 0.3 or not (extra or 'adapted' in text):
        folder = folder.rename(space.folder / 'moved here')
        text += ', moved'
    tool, config, *rest = ADAPT
    rest[1] = str(folder)

    def check(output: str) -> str:
        new = torch.load(folder / 'export/0.5/model.pth', weights_only=True)
        old = torch.load(done / 'export/0.5/model.pth', weights_only=True)
        new, old = (s.get('state_dict', s) for s in (new, old))
        differ = difference(new, old)
        if changed:
            return '' if differ else 'kept what other options had made'
        return differ

    return Case(
        'work directory',
        text,
        space.tool(tool, config, *rest, *extra),
        check,
    )


# Code in files.


class Attack:
    """Leaves a file when it is unpickled by a careless reader."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def attack(rng: Random, space: Workspace) -> Case:
    """A file of weights that holds code, from a disk or from the web."""
    keeps = space.take('adapted')
    ending = rng.choice(['pth', 'pt', 'bin', 'ckpt', 'npz', 'safetensors'])
    path = space.folder / f'evil.{ending}'
    value = torch.load(space.folder / ADAPTED, weights_only=False)
    value['meta']['evil'] = Attack(space.folder / TRACE)
    form = rng.choice(['zip', 'legacy', 'pickle'])
    if form == 'pickle':
        path.write_bytes(pickle.dumps(dict(meta=value['meta'])))
    else:
        is_zip = form == 'zip'
        torch.save(value, path, _use_new_zipfile_serialization=is_zip)
    place = rng.choice([path.name, str(path), 'file', 'http'])
    if place == 'file':
        place = path.as_uri()
    elif place == 'http':
        place = f'{space.serve()}/{path.name}'
    options = ('--cfg-options', 'train_cfg.max_epochs=3')
    commands: list[tuple[str, ...]] = [
        ('test.py', 'stage2.py', place),
        ('search.py', 'stage1.py', place),
        ('export.py', 'stage2.py', place, '--budget', '0.5', '--out', 'out'),
        ('train.py', 'stage2.py', '--resume', place),
        ('train.py', 'stage2.py', *options, f'load_from={place}'),
        (
            'train.py',
            'stage1.py',
            *options,
            f'model.backbone.init_cfg.checkpoint={place}',
        ),
        ('rearrange.py', 'stage1.py', place, 'out.pth'),
        ('convert.py', place, 'out.pth'),
        (
            'train.py',
            'stage2.py',
            '--cfg-options',
            f'model.router.front={place}',
        ),
        ('latency.py', 'check', 'stage2.py', place),
    ]
    command = rng.choice(commands)
    text = f'{form} in {ending}: {" ".join(command)}'
    return Case('code', text, space.tool(*command), keeps=[*keeps, path])


VALUES: list[Any] = [None, True, -1, 0, 10**400, 1e308, '', 'x', [], {}]
VALUES += [float('nan'), float('inf'), 3, 0.5, [1], '0.5', {'a': 1}, 2**63]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value, with each of its keys."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = value
    elif isinstance(value, list):
        keys = range(len(value))
    found = [(value, key) for key in keys]
    return found + [x for key in keys for x in _places(value[key])]


def front(rng: Random, space: Workspace) -> Case:
    """A front of which one value, or one byte, is another."""
    space.take('adapted')
    path = space.folder / 'adapted/search/pareto.json'
    if rng.random() < 0.2:
        text = f'{_spoil(rng, path)} pareto.json'
    else:
        content = json.loads(path.read_text())
        where, key = rng.choice(_places(content))
        old, where[key] = where[key], rng.choice(VALUES)
        text = f'pareto.json: {key}: {old} -> {where[key]}'[:150]
        path.write_text(json.dumps(content))
    name = 'adapted/search/pareto.json'
    command = rng.choice(
        [
            ('export.py', 'stage1.py', 'adapted/stage1/epoch_3.pth')
            + ('--pareto', name, '--out', 'out', '--rounds', '1'),
            ('train.py', 'stage2.py', '--work-dir', 'out'),
            ('test.py', 'stage1.py', 'adapted/stage1/epoch_3.pth')
            + ('--budgets', '0.5', '--front', name),
        ]
    )
    files = [p for p in space.folder.rglob('*') if p.is_file()]
    return Case(
        'front', f'{command[0]}: {text}', space.tool(*command), keeps=files
    )


# Weights.


def weights(rng: Random, space: Workspace) -> Case:
    """A file of weights under other names, or one that does not fit."""
    state = state_of(PRETRAINED)
    _right, text, fits = dict(state), [], True
    backbone = {k: v for k, v in state.items() if k.startswith('backbone.')}
    for _ in range(rng.randint(1, 2)):
        way = rng.choice(
            ['prefix', 'wrapper', 'missing', 'shape', 'dtype', 'NaN', 'extra']
        )
        key = rng.choice(sorted(backbone))
        if way == 'prefix':
            prefix = rng.choice(['module.', '_orig_mod.', 'model.', 'net.'])
            state = {f'{prefix}{k}': v for k, v in state.items()}
            way = f'prefix {prefix}'
        elif way in ('missing', 'shape', 'NaN') and key in state:
            fits = False
            if way == 'missing':
                del state[key]
            elif way == 'shape':
                state[key] = state[key][..., :-1].clone()
            else:
                state[key] = torch.full_like(state[key], torch.nan)
            way = f'{way} {key}'
        elif way == 'dtype':
            state = {k: v.double() for k, v in state.items()}
        elif way == 'extra':
            fits = False
            state['backbone.layers.9.ln1.weight'] = torch.ones(96)
        text.append(way)
    wrappers = ['state_dict', 'model_state_dict', 'model', 'none', 'teacher']
    wrapper = rng.choice(wrappers)
    torch.save(
        state if wrapper == 'none' else {wrapper: state},
        space.folder / 'given.pth',
    )
    name = 'model.backbone.init_cfg.checkpoint=given.pth'
    command = ('train.py', 'stage1.py', '--work-dir', 'out', '--cfg-options')
    options = 'train_cfg.max_epochs=2', name

    def check(output: str) -> str:
        return '' if fits else 'weights that do not fit were taken'

    text.append(f'in {wrapper}')
    run = space.tool(*command, *options)
    return Case('weights', ', '.join(text), run, check)
