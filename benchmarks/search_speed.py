"""Times the search against bare forward passes, and two processes against one.

A round runs one search, the forward passes of the subnets that it evaluated,
and the same search in two processes; ratios are formed inside a round.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, save_checkpoint
from mmpretrain.registry import MODELS

import eavit_mm  # noqa: F401
from benchmarks.accuracy import ENV
from benchmarks.methods import OURS
from benchmarks.pages import FOLDER, ROOT, commit, publish, quartiles, table
from eavit_mm.analysis.latency import device_name, seconds
from eavit_mm.files import write_json
from eavit_mm.search.evaluations import read_evaluations
from eavit_mm.space import Subnet

RECORDS = FOLDER / 'search_speed.json'
INTRO = """# Speed of the search

Made by `make speed`: ViT-mini, 2,000 random images in the format of
Fashion-40, one thread for each process. A round is a search (subnets evaluated
per second, proposals and files included), the bare forward passes of the same
subnets on tensors in memory, and the same search in two processes. Ratios are
formed inside a round; median and quartiles."""
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def write_images(folder: Path) -> dict[str, str]:
    """Fashion-MNIST's files with random images: a search is as fast on them.

    Returns:
        The config's options that lead to them.
    """
    rng = np.random.default_rng(0)
    for stem, num in (('train', 60_000), ('t10k', 10_000)):
        for name, shape in (
            ('images-idx3', (num, 28, 28)),
            ('labels-idx1', (num,)),
        ):
            sizes = b''.join(size.to_bytes(4, 'big') for size in shape)
            values = rng.integers(10, size=shape, dtype=np.uint8)
            head = bytes([0, 0, 8, len(shape)]) + sizes
            (folder / f'{stem}-{name}-ubyte').write_bytes(
                head + values.tobytes()
            )
    return {
        f'{key}.data_root': str(folder)
        for key in (
            'train_dataloader.dataset.dataset',
            'val_dataloader.dataset.dataset',
            'test_dataloader.dataset',
        )
    }


def build(options: dict[str, str]) -> tuple[Any, list[torch.Tensor]]:
    """The supernet, and the images of the search as it sees them."""
    cfg = Config.fromfile(ROOT / OURS)
    cfg.merge_from_dict(options)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval().to(DEVICE)
    loader = {**cfg.val_dataloader, 'num_workers': 0}
    loader |= dict(persistent_workers=False)
    batches = Runner.build_dataloader(loader, seed=0)
    return model, [
        model.data_preprocessor(batch, False)['inputs'] for batch in batches
    ]


@torch.no_grad()
def forward(model: Any, images: list[torch.Tensor], subnet: Subnet) -> None:
    """Scores of a subnet for all images, and nothing else."""
    with model.backbone.frozen(subnet):
        for batch in images:
            model(batch, mode='tensor')


def search_rate(
    checkpoint: Path, work_dir: Path, processes: int, changes: dict[str, Any]
) -> float:
    """Evaluations per second of a search, by its own log."""
    where = [ROOT / OURS, checkpoint]
    options = ['--work-dir', work_dir, '--cfg-options']
    options += [f'{key}={value}' for key, value in changes.items()]
    command = [sys.executable, ROOT / 'tools/search.py', *where]
    if processes > 1:
        script = ROOT / 'tools/dist_search.sh'
        command = ['bash', script, *where, processes]
    bin_folder = Path(sys.executable).parent  # the script calls `python`
    done = subprocess.run(
        [str(word) for word in [*command, *options]],
        cwd=ROOT,
        env={**ENV, 'PATH': f'{bin_folder}{os.pathsep}{ENV["PATH"]}'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    rates = re.findall(r'([\d.]+) evaluations/s', done.stdout)
    if done.returncode or not rates:
        raise RuntimeError(f'{done.stdout[-2000:]}\nthe search failed')
    return float(rates[-1])


def measure(rounds: int, evaluations: int) -> list[dict[str, float]]:
    """Evaluations per second in every round."""
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_images(folder)
        model, images = build(data)
        changes: dict[str, Any] = {
            **data,
            'search_cfg.max_evaluations': evaluations,
            'search_cfg.threads': 1,
        }
        checkpoint = folder / 'supernet.pth'
        save_checkpoint(dict(state_dict=model.state_dict()), str(checkpoint))
        for number in range(rounds):
            one, two = folder / f'{number}_1', folder / f'{number}_2'
            rate = search_rate(checkpoint, one, 1, changes)
            _, members = read_evaluations(
                one / 'evaluations.jsonl', model.backbone.space
            )
            spent = sum(
                seconds(lambda s=m.subnet: forward(model, images, s), DEVICE)
                for m in members
            )
            found.append(
                dict(
                    search=rate,
                    bare=round(len(members) / spent, 3),
                    two=search_rate(checkpoint, two, 2, changes),
                )
            )
            print(found[-1], flush=True)
    return found


def page(result: dict[str, Any]) -> str:
    """The page made from a measurement, in Markdown."""
    rows = result['rows']
    cells = []
    for name, over, text in (
        ('search', 'bare', 'search over bare forward passes'),
        ('two', 'search', 'two processes over one'),
    ):
        top, base = ([row[key] for row in rows] for key in (name, over))
        low, middle, high = quartiles(np.divide(top, base))
        rates = f'{np.median(top):.2f} over {np.median(base):.2f}'
        spread = f'{low:.3f} to {high:.3f}'
        cells.append([text, f'{middle:.3f}', spread, rates])
    header = ['ratio', 'median', 'quartiles', 'evaluations per second, median']
    where = (
        f'{result["device"]}, torch {result["torch"]}, {len(rows)} rounds of '
        f'{result["evaluations"]} evaluations, commit {result["commit"]}.'
    )
    return '\n\n'.join([INTRO, where, table(header, cells)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--evaluations', type=int, default=80)
    args = parser.parse_args()
    result = dict(
        device=f'{device_name(DEVICE)}, {os.cpu_count()} cores',
        torch=torch.__version__,
        commit=commit(),
        evaluations=args.evaluations,
        rows=measure(args.rounds, args.evaluations),
    )
    write_json(result, RECORDS)
    publish(page(result), RECORDS.with_suffix('.md'))


if __name__ == '__main__':
    main()
