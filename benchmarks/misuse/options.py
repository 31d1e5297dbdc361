"""Options, budgets, pictures and signals put wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from benchmarks.misuse.workspace import (
    ADAPT,
    ADAPTED,
    Case,
    Workspace,
    difference,
    state_of,
)
from benchmarks.pages import ROOT

# Budgets and fronts.

SIGNS = ['', '', '', '-', '+', ' ', '.', '٣', '0x', '1e', '--', 'e', '/', '_']
NUMBERS = ['0.5', '50', '1', '0', '9' * 400, '1e400', 'nan', 'inf', '1e-9']
NUMBERS += ['0.25', '6', '1_0', '1,5', '٠.٥', '', '1e308', '0.9999999999']
UNITS = ['', '', '%', 'MMACs', 'GMACs', 'MACs', 'params', 'Mparams', 'ms']
UNITS += ['GFLOPs', ' MMACs', 'mmacs', 's', '%%', 'KMACs', 'µs', 'µ', '\n']


def budget(rng: Random, space: Workspace) -> Case:
    """Texts that may be budgets."""
    keeps = space.take('adapted')
    texts = [
        rng.choice(SIGNS) + rng.choice(NUMBERS) + rng.choice(UNITS)
        for _ in range(rng.randint(1, 3))
    ]
    by = rng.choice(['router', 'front', 'uniform'])
    command: tuple[Any, ...] = (
        'test.py',
        'stage2.py',
        ADAPTED,
        '--by',
        by,
        '--out',
        'out.json',
    )
    command = (*command, *(f'--budgets={text}' for text in texts[:1]))
    command = (*command, *texts[1:], '--work-dir', 'test')

    def check(output: str) -> str:
        rows = json.loads((space.folder / 'out.json').read_text())['subnets']
        over = [
            row['name']
            for row in rows
            if row.get('limit') and row['delivered'] > row['limit']
        ]
        return f'{over} exceeded' if over else ''

    text = f'--by {by} --budgets {" ".join(map(repr, texts))}'[:200]
    return Case('budget', text, space.tool(*command), check, keeps)


# Options of a config.

KEYS = [
    'model', 'model.type', 'model.backbone', 'model.backbone.space',
    'model.backbone.space.max_off', 'model.sampler', 'model.sampler.type',
    'model.head.num_classes', 'model.backbone.arch.num_layers',
    'train_dataloader', 'train_dataloader.batch_size', 'train_cfg',
    'train_dataloader.dataset.part', 'train_dataloader.dataset.parts.train',
    'train_cfg.max_epochs', 'train_cfg.val_interval', 'val_cfg.subnets',
    'val_cfg.metric', 'val_evaluator', 'val_evaluator.type', 'optim_wrapper',
    'optim_wrapper.optimizer.lr', 'optim_wrapper.clip_grad', 'optim_wraper',
    'param_scheduler', 'param_scheduler.0', 'param_scheduler.0.type',
    'default_hooks', 'default_hooks.checkpoint.interval', 'custom_hooks',
    'default_hooks.checkpoint.save_best', 'custom_hooks.1.levels',
    'custom_hooks.0.criterion.type', 'custom_hooks.5', 'randomness.seed',
    'default_scope', 'load_from', 'resume', 'env_cfg', 'work_dir', 'launcher',
    'log_level', 'compile', 'a..b', '', '.', 'custom_hooks.x', 'model.a.b.c',
]  # fmt: skip
TEXTS = [
    '', '3', '-1', '0', 'None', 'True', 'nan', '[]', '[[[', '{', '"', "'",
    '(1,', 'dict(a=1)', '1e999', '[1,2,3]', 'accuracy/top1', 'x', '=',
    'eavit_mm.Nothing', '__import__("os").system("touch trace_of_code")',
    '"[1,[2,(3,4]"', '9' * 400, '\\', 'loss', '[None]', '0.5', '1,2',
]  # fmt: skip


def option(rng: Random, space: Workspace) -> Case:
    """Anything behind --cfg-options of a training."""
    keeps = space.take('adapted/stage1/epoch_3.pth')
    texts = [
        f'{rng.choice(KEYS)}={rng.choice(TEXTS)}'
        for _ in range(rng.choice([1, 1, 2]))
    ]
    if rng.random() < 0.1:
        texts[0] = texts[0].replace('=', '')
    command = ('train.py', 'stage1.py', '--work-dir', 'out', '--cfg-options')
    text = ' '.join(texts)[:150]
    return Case('option', text, space.tool(*command, *texts), keeps=keeps)


# Exports and their use.


def export(rng: Random, space: Workspace) -> Case:
    """An export to odd places, in odd forms."""
    keeps = space.take('adapted')
    name = rng.choice(
        ["it's", 'a b', 'ü', 'a"b', 'x' * 300, '.', '..', 'adapted', 'a/b/c']
        + ['stage2.py', 'x\n', '{}', '%s', 'out.b', '.hidden', 'new', '-']
    )
    options: list[tuple[str, ...]] = [
        ('--format', 'pth'),
        ('--format', 'onnx', '--opset', rng.choice(['13', '17', '18', '20'])),
        ('--format', 'onnx', '--opset', rng.choice(['-1', '3', '99', 'x'])),
        ('--rounds', rng.choice(['0', '1', '-1'])),
        ('--images', rng.choice(['3', '-1', '99999'])),
        ('--batch-size', rng.choice(['0', '2'])),
    ]
    extra = rng.choice(options)
    command: tuple[Any, ...] = (
        'export.py',
        'stage2.py',
        ADAPTED,
        '--budget',
        '0.5',
    )
    command = (*command, f'--out={name}', '--rounds', '1', *extra)

    def check(output: str) -> str:
        report = json.loads((space.folder / name / 'report.json').read_text())
        known = space.whole / 'adapted/export/0.5/report.json'
        right = json.loads(known.read_text())
        return '' if report['macs'] == right['macs'] else 'another network'

    text = f'--out {name[:20]!r} {" ".join(extra)}'
    return Case('export', text, space.tool(*command), check, keeps)


def picture(rng: Random, space: Workspace) -> Case:
    """What is given to apis.predict, in many forms of the same image."""
    space.take(ADAPTED)
    image = np.random.default_rng(rng.randrange(10**6)).integers(
        0, 256, (28, 28), np.uint8
    )
    forms: dict[str, Any] = {
        'uint8': image,
        'three axes': image[..., None],
        'float 0..255': image.astype(np.float32),
        'float 0..1': image / 255.0,
        '16 bit': image.astype(np.uint16) * 257,
        'int64': image.astype(np.int64),
        'tensor': torch.from_numpy(image),
        'tensor CHW': torch.from_numpy(image)[None],
        'bool': image > 127,
        'NaN': np.full((28, 28), np.nan),
        '0 x 0': np.zeros((0, 0), np.uint8),
        'colours': np.repeat(image[..., None], 3, 2),
        'complex': image.astype(complex),
        'empty list': [],
        'None': None,
        'number': 3,
        'missing': 'nothing.png',
        'empty file': 'empty.png',
        'text': 'text.png',
        'folder': '.',
    }
    (space.folder / 'empty.png').touch()
    (space.folder / 'text.png').write_text('no image')
    name = rng.choice(list(forms))
    many = rng.random() < 0.3
    given = [image, forms[name]] if many else forms[name]
    text = f'{name}{", in a list" if many else ""}'
    run = partial(_predict, space.folder, image, given)
    same = name not in ('bool', 'empty list')

    def check(output: str) -> str:
        right, found = json.loads((space.folder / 'answers.json').read_text())
        if not same:
            return ''
        near = np.allclose(found[-1], right[0], atol=1e-3)
        return '' if near else 'another answer than for the image itself'

    return Case('picture', text, run, check)


def _predict(folder: Path, image: Any, given: Any) -> None:
    from eavit_mm import apis
    from eavit_mm.engine.cli import run_tool

    network = apis.load(folder / 'stage2.py', folder / ADAPTED)

    def ask(images: Any) -> list[Any]:
        found = apis.predict(network, images, 0.5)
        return [np.asarray(x['pred_scores']).tolist() for x in found]

    def both() -> None:
        answers = [ask(image), ask(given)]
        (folder / 'answers.json').write_text(json.dumps(answers))

    run_tool(both)


# Signals.


def stop(rng: Random, space: Workspace) -> Case:
    """A tool is stopped somewhere; the same command goes on."""
    sign = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    seconds = rng.uniform(0.5, 30)
    command = [sys.executable, str(ROOT / 'tools' / ADAPT[0]), *ADAPT[1:]]

    def run() -> None:
        process = subprocess.Popen(command, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            if sign == signal.SIGKILL:
                os.killpg(process.pid, sign)
            else:
                process.send_signal(sign)
            process.wait()
            for _ in range(20):  # what it has started ends in order
                time.sleep(1)
                alive = subprocess.run(
                    ['pgrep', '-f', str(space.folder)], capture_output=True
                ).stdout.split()
                if not set(map(int, alive)) - {os.getpid()}:
                    break
            else:
                raise SystemExit('a process goes on') from None
        raise SystemExit(subprocess.run(command, check=False).returncode)

    def check(output: str) -> str:
        new, old = (
            state_of(place / ADAPTED) for place in (space.folder, space.whole)
        )
        return difference(new, old)

    text = f'{sign.name} after {seconds:.1f} s'
    return Case('signal', text, run, check)
