"""Asks routers that learnt nothing for random budgets.

Whatever a router says, a budget must be kept, and used. No training.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

import eavit_mm  # noqa: F401
from benchmarks.pages import FOLDER, ROOT, commit, publish, table
from eavit_mm.analysis.latency import device_name
from eavit_mm.engine.cli import build_supernet
from eavit_mm.files import write_json
from eavit_mm.models import BudgetSolver
from eavit_mm.space import Budget, SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import USED
from eavit_mm.space.latency import LatencyTable

RECORDS = FOLDER / 'budgets.json'
CONFIGS = {
    'ViT-mini': 'configs/eavit/vitmini_fashion40_stage2.py',
    'ViT-B/16': 'configs/eavit/vitb_flowers_stage2.py',
}
# What is limited; the routers know MACs.
KINDS = (('macs',), ('params',), ('latency',), ('macs', 'latency'))
INTRO = """# Random budgets, routers that learnt nothing

Made by `make benchmark`: budgets drawn evenly from the cheapest subnet's cost
to the largest's, for routers with random weights; with two kinds at once each
has a limit of its own. Latency: of a made-up device on which the widest branch
takes half its time whatever its width, and others more. Used: of the budget,
or of that of two which is used more. None may be exceeded. Times: of a
CPU for an answer, on one thread, its cost tables read. ViT-B/16 has a class
token, as in the paper's recipe; ViT-mini is pooled."""


def random_model(path: str, seed: int) -> Any:
    """A supernet of a config whose router answers at random."""
    torch.manual_seed(seed)
    cfg = Config.fromfile(ROOT / path)
    cfg.model.router.update(front=None)
    model: Any = build_supernet(cfg, 'benchmarks.budgets')
    for module in model.router.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
            nn.init.normal_(module.bias, std=3.0)  # far from even odds
    model.router.is_ready = True
    return model.eval()


def made_up_table(model: Any) -> LatencyTable:
    """Milliseconds of a device, half of them for nothing but the launch."""
    space: SearchSpace = model.backbone.space
    shape = model.backbone.geometry
    parts: dict[str, Any] = {}
    for axis in ('num_heads', 'feedforward_channels'):
        widest = max(space.choices(axis, 0)) * max(space.embed_dims)
        parts[axis] = {
            e: {w: 0.5 + 0.5 * w * e / widest for w in space.choices(axis, 0)}
            for e in space.embed_dims
        }
    return LatencyTable(
        'made up',
        'float32',
        1,
        1,
        shape.num_tokens,
        space.head_dims,
        dict.fromkeys(space.embed_dims, 1.0),
        **parts,
    )


def answers(
    solver: BudgetSolver,
    kinds: Sequence[str],
    num: int,
    rng: np.random.Generator,
) -> tuple[list[float], list[float]]:
    """Used shares of random budgets, and seconds of the answers.

    Raises:
        ValueError: If a budget is exceeded.
    """
    tables = {k: CostTable(solver.space, solver.cost(k)) for k in kinds}
    shares, times = [], []
    for number in range(-1, num):
        limits = {
            k: rng.uniform(t.lowest, t.highest) for k, t in tables.items()
        }
        asked = [Budget(k, v, f'{v} ({k})') for k, v in limits.items()]
        begin = time.process_time()
        subnet = solver(asked, 'router')
        spent = time.process_time() - begin
        used = max(solver.cost(k)(subnet) / v for k, v in limits.items())
        if used > 1:
            raise ValueError(f'{used} of {limits} by {subnet}')
        if number >= 0:  # the first reads the tables
            shares.append(used)
            times.append(spent)
    return shares, times


def measure(
    name: str, kinds: Sequence[str], num: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """A row of the page: random routers of one network, one kind of limit."""
    shares, times = [], []
    for seed in seeds:
        model = random_model(CONFIGS[name], seed)
        solver = BudgetSolver(model, table=made_up_table(model))
        found = answers(solver, kinds, num, np.random.default_rng(seed))
        shares += found[0]
        times += found[1]
    return dict(
        network=name,
        kinds=list(kinds),
        routers=len(seeds),
        budgets=len(shares),
        least_used=min(shares),
        little_used=sum(share < USED for share in shares),
        median_seconds=float(np.median(times)),
        longest_seconds=max(times),
    )


def page(result: Mapping[str, Any]) -> str:
    """The page made from the rows, in Markdown."""
    rows = [
        [
            row['network'],
            ' and '.join(row['kinds']),
            str(row['routers']),
            str(row['budgets']),
            f'{row["least_used"]:.1%}',
            str(row['little_used']),
            f'{1000 * row["median_seconds"]:.1f} ms',
            f'{1000 * row["longest_seconds"]:.0f} ms',
        ]
        for row in result['rows']
    ]
    header = ['network', 'limits', 'routers', 'budgets', 'least used']
    header += [f'used below {USED:.0%}', 'answer, median', 'longest']
    last = f'{result["device"]}, commit {result["commit"]}.'
    return '\n\n'.join([INTRO, table(header, rows), last])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--num', type=int, default=125, help='budgets each')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        measure(name, kinds, args.num, args.seeds)
        for name in CONFIGS
        for kinds in KINDS
    ]
    device = device_name(torch.device('cpu'))
    result = dict(device=device, commit=commit(), rows=rows)
    write_json(result, RECORDS)
    publish(page(result), RECORDS.with_suffix('.md'))


if __name__ == '__main__':
    main()
