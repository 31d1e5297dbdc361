"""Measures what each tool holds in memory, in a process of its own."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from PIL import Image

from benchmarks.pages import FOLDER, ROOT, commit, commits, publish, table
from benchmarks.speed import held
from eavit_mm.analysis.latency import device_name
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import build_supernet
from eavit_mm.files import write_json
from eavit_mm.registry import MODELS

RECORDS = FOLDER / 'memory.json'
NETWORKS = {
    'ViT-mini': 'configs/eavit/vitmini_digits.py',
    'ViT-B/16': 'configs/eavit/vitb_dtd.py',
}
TOOLS = ('train', 'search', 'test', 'export')
# Steps and evaluations of ViT-mini; images of ViT-B's search and test.
STEPS, IMAGES = 500, 2000
# Seconds of a processor: after a network's first batch has begun, ViT-B's
# search and test end when their peak has not risen for so long.
PATIENCE = 15.0
LIMIT = 2.5  # GB that these two may take beside the model
INTRO = f"""# Memory of the tools

Made by `python -m benchmarks.memory`: the most that a process holds (`VmHWM`),
random weights, float32, no GPU, one thread, no data workers. The floor is what
a process holds that has imported the package and loaded the same checkpoint;
what a tool imports later, such as matplotlib, comes on top.

ViT-mini trains {STEPS} steps of 16 digits, searches by {STEPS} evaluations on
150, and tests {STEPS // 10} networks on ten batches of 45; growth: what is
held before the last of these steps, evaluations or batches, less what was held
after the first, and after half of them.

ViT-B trains three steps on 8 images, two of the largest network first. Its
search and test have {IMAGES:,} images of 224 px, in batches of 256 as its
configs. The search begins with the largest network; the test has one with 704
of 768 channels in the embedding, which needs a copy of its weights. They are
ended when the peak has not risen for {PATIENCE:.0f} seconds of a processor:
later blocks and batches take as much again as the first. What is exported, to
`.pth` and ONNX, is the largest network."""


@MODELS.register_module()
class WatchedPreprocessor(ClsDataPreprocessor):
    """Notes in a file what is held as each batch begins."""

    def __init__(self, notes: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.notes = notes

    def forward(self, data: Any, training: bool = False) -> Any:
        """See the base class."""
        with Path(self.notes).open('a') as file:
            file.write(f'{held()}\n')
        return super().forward(data, training)


def watch(
    command: Sequence[str], folder: Path, patience: float = float('inf')
) -> tuple[int, list[int]]:
    """Runs a command: its peak in bytes, and its notes.

    Args:
        command: Of a process, whose children do not count.
        folder: For its log and notes.
        patience: It is ended if its peak has not risen by a hundredth for so
            many seconds of a processor since its first note.

    Raises:
        RuntimeError: If it fails.
    """
    log, notes = folder / 'log.txt', folder / 'notes.txt'
    notes.unlink(missing_ok=True)
    # Tools import this file, for the preprocessor.
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    peak = highest = 0
    risen, is_ended = 0.0, False
    with log.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', *command],
            cwd=ROOT,
            env=env,
            stdout=file,
            stderr=file,
        )
        while process.poll() is None:
            peak = max(peak, held('VmHWM', process.pid))
            # Behind the name come a letter, and ticks as 12th and 13th.
            stat = Path(f'/proc/{process.pid}/stat').read_text()
            ticks = stat.rpartition(')')[2].split()[11:13]
            used = sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')
            if peak > 1.01 * highest or not notes.exists():
                highest, risen = peak, used
            elif used - risen > patience:
                is_ended = True
                process.kill()
            time.sleep(0.05)
    if process.returncode and not is_ended:
        raise RuntimeError(f'{log.read_text()[-2000:]}\n{command} failed')
    lines = notes.read_text().split() if notes.exists() else []
    return peak, [int(line) for line in lines]


def config_of(network: str, folder: Path) -> Config:
    """A short run of each tool, on data in a folder."""
    cfg = Config.fromfile(ROOT / NETWORKS[network])
    cfg.custom_imports.imports.append('benchmarks.memory')
    cfg.model.backbone.init_cfg = None
    cfg.load_from = str(folder / 'weights.pth')  # of the training
    cfg.default_hooks.checkpoint.interval = STEPS
    cfg.train_cfg = dict(by_epoch=False, max_iters=3, val_interval=STEPS)
    cfg.log_processor = dict(by_epoch=False)
    cfg.param_scheduler = []
    rearrange, curriculum = cfg.custom_hooks
    rearrange.num_batches = 1
    curriculum.by_epoch = False
    cfg.search_cfg.update(threads=1, max_evaluations=STEPS)
    if network == 'ViT-mini':
        cfg.train_cfg.max_iters = STEPS
        cfg.train_dataloader.batch_size = 16
        # A copy: what builds a model writes into its config.
        space = build_supernet(deepcopy(cfg), network).backbone.space
        rng = np.random.default_rng(0)
        cfg.test_cfg.subnets = {
            str(i): space.sample(rng).to_dict() for i in range(STEPS // 10)
        }
        cfg.test_dataloader.batch_size = 45
        return cfg
    # The search begins with the largest network, which also trains; the test
    # has the other one, whose weights are copied.
    cfg.model.backbone.space = dict(
        embed_dims=[704, 768], num_heads=[12], feedforward_channels=[3072]
    )
    curriculum.levels = [dict(begin=0), dict(begin=2, embed_dims=704)]
    cfg.test_cfg.subnets = dict(narrow='smallest')
    cfg.train_dataloader.batch_size = 8
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.num_workers = 0
        loader.dataset = dict(
            type='CustomDataset',
            data_prefix=_images(folder / f'images_{part}'),
            pipeline=loader.dataset.pipeline,
        )
    return cfg


def _images(folder: Path) -> str:
    """A folder of one image under many names, in two classes."""
    values = np.random.default_rng(0).integers(256, size=(14, 14, 3))
    image = Image.fromarray(values.astype(np.uint8)).resize((224, 224))
    for label in 'ab':
        (folder / label).mkdir(parents=True)
        image.save(first := folder / label / '0.jpg')
        for number in range(1, IMAGES // 2):
            os.link(first, folder / label / f'{number}.jpg')
    return str(folder)


def load(config: str, weights: str) -> None:
    """Is a process that holds a supernet, and says how much that is."""
    model = build_supernet(Config.fromfile(config), config)
    load_supernet(model, weights)
    print(f'\n{held()}')


def measure(
    network: str, tools: Sequence[str], folder: Path
) -> list[dict[str, Any]]:
    """What each tool holds of a network."""
    cfg = config_of(network, folder)
    config, weights = str(folder / 'config.json'), cfg.load_from
    cfg.dump(config)
    init_default_scope(cfg.default_scope)
    model: Any = build_supernet(cfg, network)
    torch.save(model.state_dict(), weights)
    largest, log = folder / 'largest.json', folder / 'log.txt'
    write_json(model.backbone.space.largest.to_dict(), largest)
    size = sum(p.nbytes for p in model.parameters())
    is_mini = network == 'ViT-mini'
    # Not by -m: the config imports this file under its own name.
    code = (
        f'from benchmarks import memory; memory.load({config!r}, {weights!r})'
    )
    watch(['-c', code], folder)
    floor = int(log.read_text().splitlines()[-1])
    found = []
    for tool in tools:
        place = str(folder / tool)
        command = [f'tools/{tool}.py', config]
        if tool == 'export':
            command += [weights, '--out', place, '--subnet', str(largest)]
            command += ['--rounds', '1', '--format', 'pth', 'onnx']
        else:
            command += [weights] if tool != 'train' else ['--no-validate']
            command += ['--work-dir', place, '--cfg-options']
            command.append(
                'data_preprocessor.type=eavit_mm.WatchedPreprocessor'
            )
            command.append(f'data_preprocessor.notes={folder}/notes.txt')
        is_short = not is_mini and tool in ('search', 'test')
        peak, notes = watch(
            command, folder, PATIENCE if is_short else float('inf')
        )
        row = dict(network=network, tool=tool, model=size, floor=floor)
        row.update(peak=peak, commit=commit())
        if is_mini and tool != 'export':
            # Before the last STEPS batches, training reads one to sort by.
            row['held'] = [notes[-STEPS:][i] for i in (1, STEPS // 2, -1)]
        found.append(row)
        print(row, flush=True)
    return found


def page(result: dict[str, Any]) -> str:
    """The page made from the measurements, in Markdown."""
    cells, most = [], 0.0
    for row in result['rows']:
        beside = (row['peak'] - row['floor']) / 1e9
        grown = ''
        if 'held' in row:
            first, half, last = (size / 1e6 for size in row['held'])
            grown = f'{last - first:+.0f} MB, {last - half:+.0f} MB'
        sizes = (row[k] / 1e9 for k in ('model', 'floor', 'peak'))
        name = f'{row["network"]}, {row["tool"]}'
        numbers = [f'{size:.2f}' for size in (*sizes, beside)]
        cells.append([name, *numbers, grown])
        if row['network'] != 'ViT-mini' and row['tool'] in ('search', 'test'):
            most = max(most, beside)
    header = ['GB', 'weights', 'floor', 'peak', 'beside the floor']
    where = (
        f'{result["device"]}, torch {result["torch"]}, commit '
        f'{commits(result["rows"])}.'
    )
    last_words = (
        f'ViT-B with {IMAGES:,} images: at most {most:.2f} GB beside the '
        f'floor; the aim is {LIMIT} GB.'
    )
    return '\n\n'.join(
        [INTRO, where, table([*header, 'growth'], cells), last_words]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS))
    parser.add_argument('--tools', nargs='+', default=list(TOOLS))
    args = parser.parse_args()
    rows = json.loads(RECORDS.read_text())['rows'] if RECORDS.exists() else []
    known = {(row['network'], row['tool']): row for row in rows}
    for network in args.networks:
        with TemporaryDirectory() as folder:
            for row in measure(network, args.tools, Path(folder)):
                known[network, row['tool']] = row
    result = dict(
        device=device_name(torch.device('cpu')),
        torch=torch.__version__,
        rows=[known[k] for k in sorted(known, reverse=True)],
    )
    write_json(result, RECORDS)
    publish(page(result), RECORDS.with_suffix('.md'))


if __name__ == '__main__':
    main()
