"""Cuts subnets out of a pretrained ViT, without training or labels (SnapViT).

Writes snap.pth, the network with its units in order of importance, and
pareto.json beside it. Started again with the same options, it goes on where
it was stopped.
"""

import argparse

from arguments import add_common_arguments

IMAGES = 1000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the supernet')
    parser.add_argument('checkpoint', help='pretrained network')
    parser.add_argument(
        '--budgets',
        nargs='+',
        default=[],
        metavar='B',
        help='targets to cut for, such as 50%% 8GMACs 20Mparams 5ms, beside '
        'those all over the range of MACs',
    )
    parser.add_argument(
        '--images',
        type=int,
        help=f'of the training data; default: {IMAGES}, or all where there '
        'are fewer; labels are not read',
    )
    parser.add_argument(
        '--batch-size', type=int, default=16, help='images, of 12 views each'
    )
    parser.add_argument(
        '--evaluations',
        type=int,
        default=1,
        help='candidates for the coefficients of layers and heads; default: '
        '1, the start alone',
    )
    parser.add_argument(
        '--at-random',
        action='store_true',
        help='draw all candidates around the start, in place of xNES',
    )
    parser.add_argument(
        '--released',
        action='store_true',
        help="scores as the paper's code has them",
    )
    parser.add_argument(
        '--latency-table', help='of tools/latency.py, for budgets in ms'
    )
    add_common_arguments(parser)
    parser.set_defaults(resume=True)  # by the same command
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import json
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from mmengine.device import get_device
from rich.console import Console
from rich.progress import track

from eavit_mm.engine.calibration import unlabelled_images
from eavit_mm.engine.checkpoint import (
    load_supernet,
    naming,
    require_other_file,
    save_atomically,
    supernet_meta,
)
from eavit_mm.engine.cli import (
    build_supernet,
    load_config,
    merge_options,
    run_tool,
)
from eavit_mm.engine.loops.pareto_search_loop import EVALUATIONS, FRONT
from eavit_mm.engine.search_header import digest, plain
from eavit_mm.files import lock, write_json
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import costs_of
from eavit_mm.options import (
    check_choice,
    check_count,
    check_mapping,
    difference_of,
)
from eavit_mm.rearrange import check_sortable, sort_units
from eavit_mm.rearrange.criteria import zero_scores
from eavit_mm.rearrange.permute import apply_permutation
from eavit_mm.snap.cut import Cuts
from eavit_mm.snap.evolution import (
    Judge,
    evolve,
    in_order,
    reorder,
    start_coefficients,
    weigh,
)
from eavit_mm.snap.fidelity import Fidelity
from eavit_mm.snap.front import cut_front
from eavit_mm.snap.scores import FisherScores
from eavit_mm.space import Budget
from eavit_mm.space.cost_table import CostTable
from eavit_mm.weights.read import read_torch_file

SCORES, COEFFICIENTS = 'scores.pth', 'coefficients.json'
NETWORK = 'snap.pth'
CONSOLE = Console(stderr=True)


def same_run(header: dict[str, Any], kept: Any) -> Any:
    """What a file holds, if of the same network, images and options."""
    check_mapping('kept', kept, 'a header and results')
    there = kept.get('header') or {}
    check_mapping('header', there, 'options')
    if difference := difference_of(there, header):
        raise ValueError(
            f'is of another run: {difference}; delete it, or use another '
            '--work-dir'
        )
    return kept


def require_own(folder: Path) -> None:
    """Raises if another tool's results would be written over."""
    names = [EVALUATIONS]
    if not (folder / COEFFICIENTS).exists():
        names += [FRONT, NETWORK]
    for path in (folder / name for name in names):
        if path.exists():
            raise FileExistsError(
                f'{path} is not of this tool: move it away, or use another '
                '--work-dir'
            )


def require_reachable(
    model: Any, budgets: list[str], targets: list[Any], table: Any
) -> None:
    """Raises if no cut keeps a budget, whatever the scores will be."""
    space = model.backbone.space
    costs = costs_of(model, table).items()
    tables = {kind: CostTable(space, cost) for kind, cost in costs}
    cuts = Cuts(space, zero_scores(model.backbone), tables)
    for budget, limits in zip(budgets, targets, strict=True):
        with naming(f'--budgets {budget}'):
            cuts.within(limits)


def score(model: Any, images: Any, size: int, header: Any, path: Path) -> Any:
    """The scores of all units; what is known of them is kept in a file."""
    sums = FisherScores(model.backbone, header['seed'], header['released'])
    if path.is_file():
        with naming(path):
            kept = same_run(header, read_torch_file(path))
            if 'scores' in kept:
                return kept['scores']
            sums.load(kept['sums'])
    batches = images[sums.number :].split(size)
    for batch in track(batches, 'Scores', console=CONSOLE):
        sums.add(batch)
        if not sums.released:
            save_atomically(dict(header=header, sums=sums.state()), path)
    scores = sums.scores()
    save_atomically(dict(header=header, scores=scores), path)
    return scores


def require_whole(generations: list[dict[str, Any]]) -> None:
    """Raises if one does not order its candidates, each with a loss."""
    for found in generations:
        order, losses = found['order'], found['losses']
        is_whole = sorted(order) == [*range(len(losses))] != []
        if not is_whole or not all(map(isfinite, losses)):
            raise ValueError(
                f'order={order!r:.80}, losses={losses!r:.80}; must have a '
                'loss of each candidate, and each once'
            )


def coefficients(judge: Judge, header: Any, path: Path) -> Any:
    """The best coefficients, whose generations are kept in a file."""
    kept: dict[str, Any] = dict(header=header, generations=[])
    if path.is_file():
        with naming(path):
            kept = same_run(header, json.loads(path.read_bytes()))
            require_whole(kept['generations'])

    def record(generation: dict[str, Any]) -> None:
        kept['generations'].append(generation)
        write_json(kept, path)
        done = sum(len(each['order']) for each in kept['generations'])
        CONSOLE.print(
            f'Coefficients [{done}/{header["evaluations"]}]  '
            f'least loss: {min(generation["losses"]):.4f}'
        )

    best, _ = evolve(
        judge,
        len(judge.fidelity),
        start_coefficients(judge.fidelity.vit.space),
        header['evaluations'],
        header['seed'],
        header['at_random'],
        tuple(kept['generations']),
        record,
    )
    return best


def main(args: argparse.Namespace) -> None:
    for name, number in (
        ('--images', IMAGES if args.images is None else args.images),
        ('--batch-size', args.batch_size),
    ):
        check_count(name, number, least=2)
    check_count('--evaluations', args.evaluations, least=1)
    check_choice('--launcher', args.launcher, ['none'])  # one process
    budgets = [Budget.parse(budget) for budget in args.budgets]
    cfg = load_config(args)
    merge_options(cfg, args)
    model: Any = build_supernet(cfg, 'tools/snap.py').to(get_device())
    with naming(args.config):
        check_sortable(model.backbone.space)
    solver = BudgetSolver(model, table=args.latency_table)
    targets = [solver.limits([budget]) for budget in budgets]
    require_reachable(model, args.budgets, targets, solver.table)
    folder = Path(cfg.work_dir)
    require_other_file(args.checkpoint, folder / NETWORK)
    meta = load_supernet(model, args.checkpoint, of_any_space=True)
    with lock(folder / EVALUATIONS):  # as tools/search.py does
        require_own(folder)
        front = snap(args, cfg, model, targets)
        meta['eavit_mm'] = supernet_meta(model, 'SnapViT', 0)
        network = dict(meta=meta, state_dict=model.state_dict())
        save_atomically(network, folder / NETWORK)
        front.write(folder / FRONT)
    print(f'{len(front.members)} subnets: {folder / FRONT}')


def snap(args: argparse.Namespace, cfg: Any, model: Any, targets: Any) -> Any:
    """Sorts the units of a model in place, and gives the front of its cuts."""
    vit, folder = model.backbone, Path(cfg.work_dir)
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    asked = IMAGES, 'tools/snap.py', True
    if args.images is not None:
        asked = args.images, f'--images {args.images}', False
    images = unlabelled_images(cfg, model, *asked)
    if len(images) < asked[0]:
        CONSOLE.print(f'The training data have {len(images)} images: all')
    images = images.to(vit.pos_embed.device)
    header = plain(
        dict(
            space=vit.space.to_config(),
            weights=digest(dict(sorted(vit.state_dict().items()))),
            data=digest(images),
            seed=seed,
            released=args.released,
            # Which alone averages each batch of its own.
            batch_size=args.batch_size if args.released else None,
        )
    )
    scores = score(model, images, args.batch_size, header, folder / SCORES)
    order = sort_units(scores)
    apply_permutation(model, order, model.head_was_loaded)
    scores = in_order(scores, order)
    fidelity = Fidelity(vit, images)
    header.update(evaluations=args.evaluations, at_random=args.at_random)
    best = coefficients(Judge(fidelity, scores), header, folder / COEFFICIENTS)
    scores = reorder(vit, weigh(scores, best))
    return cut_front(
        model,
        fidelity,
        scores,
        targets,
        args.latency_table,
        partial(track, description='Front', console=CONSOLE),
    )


if __name__ == '__main__':
    run_tool(main, args)
