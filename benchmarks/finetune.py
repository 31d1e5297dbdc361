"""Trains exported networks of the stage-2 benchmark as dense networks.

Stock mmpretrain: its tools read the exported config and weights.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mmpretrain
from mmengine.config import Config

from benchmarks.accuracy import LOG, READING, call, train
from benchmarks.pages import (
    FOLDER,
    commit,
    commits,
    publish,
    spread_text,
    table,
)
from benchmarks.search import METRIC
from benchmarks.stage2 import (
    PLAIN,
    REGIME,
    run_arguments,
    stage2_config,
    supernet_and_front,
)
from eavit_mm.files import write_atomically, write_json

RECORDS = FOLDER / 'finetune.json'
TOOLS = Path(mmpretrain.__file__).parent / '.mim/tools'
BUDGETS = (0.1, 0.3)
EPOCHS, LR = 10, 2e-4
INTRO = f"""# Fine-tuning exported networks

Made by `make benchmark` from [finetune.json](finetune.json). The `{PLAIN}`
networks of [stage2.md](stage2.md), {REGIME}: the best network for a budget is
exported and trained for {EPOCHS} more epochs on the same images by
mmpretrain's own `tools/train.py`, with AdamW, a cosine from {LR:g} and the
labels alone. Accuracy in per cent on the test split (10,000 images); mean and
standard deviation over seeds."""


def plain_training(exported: Config) -> Config:
    """The config of an exported network, for some more epochs."""
    cfg = Config(exported.to_dict())
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=EPOCHS)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.optim_wrapper.optimizer.lr = LR
    cfg.param_scheduler = [
        dict(
            type='CosineAnnealingLR', T_max=EPOCHS, convert_to_iter_based=True
        )
    ]
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1
    )
    return cfg


def accuracy(config: Path, checkpoint: Path, work_dir: Path) -> float:
    """Accuracy of a dense network on the test split."""
    out, log = work_dir / 'test.json', work_dir / LOG
    asked = ('--out', str(out), '--out-item', 'metrics')
    shared = (str(config), str(checkpoint), '--work-dir', str(work_dir))
    call(str(TOOLS / 'test.py'), *shared, *asked, log=log)
    return float(json.loads(out.read_text())[METRIC])


def records_of(seed: int, folder: Path) -> list[dict[str, Any]]:
    """Accuracies before and after, for every budget; measured once."""
    cfg = stage2_config(PLAIN, seed, *supernet_and_front(seed, folder))
    stage2, checkpoint = train(cfg, folder, validate=True)
    found = []
    for budget in BUDGETS:
        work_dir = stage2 / f'export_{budget}'
        done = work_dir / 'record.json'
        if not done.exists():
            work_dir.mkdir(exist_ok=True)
            config = stage2 / 'config.py'
            values = measure(config, checkpoint, budget, work_dir)
            write_json(dict(values, budget=budget, seed=seed), done)
        print(f'{budget:.0%}, seed {seed}: measured', flush=True)
        found.append(json.loads(done.read_text()))
    return found


def measure(
    config: Path, checkpoint: str, budget: float, work_dir: Path
) -> dict[str, Any]:
    """Exports a network, tests it, trains it and tests it again."""
    out, log = work_dir / 'network', work_dir / LOG
    asked = ('--budget', str(budget), '--out', str(out))
    call('tools/export.py', str(config), checkpoint, *asked, log=log)
    before = accuracy(out / 'config.py', out / 'model.pth', work_dir)
    with READING:
        cfg = plain_training(Config.fromfile(out / 'config.py'))
    training = work_dir / 'config.py'
    write_atomically(cfg.pretty_text.encode(), training)
    # Not resumed: a stock run without a checkpoint would start from nothing.
    shared = (str(training), '--work-dir', str(work_dir))
    call(str(TOOLS / 'train.py'), *shared, log=log)
    last = work_dir / f'epoch_{EPOCHS}.pth'
    return dict(
        macs=json.loads((out / 'report.json').read_text())['macs'],
        commit=commit(),
        before=before,
        after=accuracy(training, last, work_dir),
    )


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """The page made from the records, in Markdown."""
    rows = []
    for budget in sorted({r['budget'] for r in records}):
        found = [r for r in records if r['budget'] == budget]
        values = [
            [r['before'] for r in found],
            [r['after'] for r in found],
            [r['after'] - r['before'] for r in found],
        ]
        cells = [f'{budget:.0%} ({len(found)})', *map(spread_text, values)]
        rows.append(cells)
    header = ['budget (seeds)', 'exported', 'fine-tuned', 'difference']
    last = f'Commit {commits(records)}.'
    return '\n\n'.join([INTRO, table(header, rows), last])


def main() -> None:
    args, folder = run_arguments(__doc__)
    with ThreadPoolExecutor(args.jobs) as pool:
        found = pool.map(lambda seed: records_of(seed, folder), args.seeds)
        records = [record for records in found for record in records]
    write_json(records, RECORDS)
    publish(page(records), RECORDS.with_suffix('.md'))


if __name__ == '__main__':
    main()
