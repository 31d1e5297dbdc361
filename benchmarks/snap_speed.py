"""Times SnapViT's parts against what they cannot do without.

A ViT-Ti at 112 px, pretrained, and images of benchmarks.snap: how soon the
search tells candidates apart, random ones would not show.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import snap
from benchmarks.pages import FOLDER, commit, publish, quartiles, table
from benchmarks.real import DATA
from benchmarks.snap import EVALUATIONS
from eavit_mm.analysis.latency import device_name, seconds
from eavit_mm.files import write_json
from eavit_mm.snap.evolution import (
    PAIRS,
    Judge,
    evolve,
    reorder,
    start_coefficients,
    weigh,
)
from eavit_mm.snap.fidelity import Fidelity
from eavit_mm.snap.front import cut_front
from eavit_mm.snap.scores import crop_views, embed, fisher_scores, view_losses

RECORDS = FOLDER / 'snap_speed.json'
SCORES, SEARCH, FRONT = 'scores', 'search', 'front'
# Times of the floor that each may take; the front: no goal.
GOALS = {SCORES: 1.3, SEARCH: 0.6, FRONT: None}
INTRO = f"""# Speed of SnapViT

Made by `python -m benchmarks.snap_speed`, which is given the folder of
photographs as `benchmarks.snap` is: its ViT-Ti/16 at 112 px, in float32.
Seconds per image; the ratio is formed inside a round, median and quartiles.
The floor of the scores is a forward and backward pass of the same views, with
gradients of all weights; that of the search are forward passes of the whole
network, as masked candidates would take them: {EVALUATIONS} candidates at
{len(PAIRS)} sparsities on every image. That of the front is one such pass: its
ratio is how many passes it costs, and it has no goal. Goals: at most
{GOALS[SCORES]} and {GOALS[SEARCH]} of the floor. The search sees fewer images
than a user's, of which it sees a larger share until candidates are told apart.
On a GPU, ViT-B: [gpu.md](gpu.md)."""


def scores_and_floor(
    model: Any, images: Tensor
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Scores of the units, and a training step's passes of the same views."""
    vit = model.backbone
    views = crop_views(images, torch.Generator().manual_seed(0))

    def floor() -> None:
        embeddings = embed(vit, views.flatten(0, 1))
        embeddings = torch.unflatten(embeddings, 0, views.shape[:2])
        torch.autograd.backward(view_losses(embeddings).sum())
        vit.zero_grad()

    return lambda: fisher_scores(vit, [images]), floor


def stages(
    model: Any, images: Tensor, batch_size: int, evaluations: int
) -> dict[str, Callable[[], None]]:
    """What tools/snap.py does, to be called in turn."""
    vit = model.backbone
    found: dict[str, Any] = {}

    def score() -> None:
        scores = fisher_scores(vit, images.split(batch_size))
        found['scores'] = reorder(vit, scores)

    def search() -> None:
        found['fidelity'] = fidelity = Fidelity(vit, images)
        judge = Judge(fidelity, found['scores'])
        start = start_coefficients(vit.space)
        found['best'], _ = evolve(judge, len(images), start, evaluations)

    def front() -> None:
        scores = reorder(vit, weigh(found['scores'], found['best']))
        cut_front(model, found['fidelity'], scores)

    return {SCORES: score, SEARCH: search, FRONT: front}


@torch.no_grad()
def forwards(model: Any, images: Tensor) -> None:
    """The whole network sees every image."""
    for batch in images.split(64):
        embed(model.backbone, batch)


def measure(
    model: Any, images: Tensor, scored: int, rounds: int, evaluations: int
) -> list[dict[str, Any]]:
    """Seconds per image of every round, beside the floor's."""
    rows = []

    def add(what: str, spent: float, floor: float) -> None:
        rows.append(dict(what=what, seconds=spent, floor=floor))
        print(rows[-1], flush=True)

    device = images.device
    pair = scores_and_floor(model, images[:scored])
    for number in range(rounds + 1):
        spent, floor = (seconds(run, device) / scored for run in pair)
        if number:  # the first round warms up
            add(SCORES, spent, floor)
    steps = stages(model, images, scored, evaluations)
    steps[SCORES]()
    floors = [seconds(lambda: forwards(model, images), device)]
    spent = seconds(steps[SEARCH], device) / len(images)
    floors.append(seconds(lambda: forwards(model, images), device))
    passes = evaluations * len(PAIRS)
    once = float(np.mean(floors)) / len(images)
    add(SEARCH, spent, passes * once)
    add(FRONT, seconds(steps[FRONT], device) / len(images), once)
    return rows


def page(result: dict[str, Any]) -> str:
    """The page made from a measurement, in Markdown."""
    cells = []
    for what, goal in GOALS.items():
        rows = [row for row in result['rows'] if row['what'] == what]
        spent, floor = ([row[k] for row in rows] for k in ('seconds', 'floor'))
        low, middle, high = quartiles(np.divide(spent, floor))
        around = f' ({low:.3f} to {high:.3f})' if len(rows) > 1 else ''
        cells.append(
            [
                what,
                f'{np.median(spent):.3g}',
                f'{np.median(floor):.3g}',
                f'{middle:.3f}{around}',
                f'≤ {goal}: {"met" if middle <= goal else "**missed**"}'
                if goal
                else '',
            ]
        )
    header = ['', 's per image', 'floor', 'ratio', 'goal']
    where = (
        f'{result["device"]}, torch {result["torch"]}; scores of '
        f'{result["scored"]} images in {result["rounds"]} rounds, one search '
        f'and front on {result["images"]}; commit {result["commit"]}.'
    )
    return '\n\n'.join([INTRO, where, table(header, cells)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--scored', type=int, default=8)
    parser.add_argument('--images', type=int, default=96)
    args = parser.parse_args()
    if not DATA.is_dir():
        parser.error(f'no folder {DATA}: EAVIT_DATA names that of data')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model = snap.build(DATA).to(device)
    images, _ = snap.read_images(
        model, snap.SETS[0], snap.KNOWN, args.images, 0, DATA
    )
    sizes = (args.scored, args.rounds, EVALUATIONS)
    result = dict(
        device=f'{device_name(device)}, threads: {torch.get_num_threads()}',
        torch=torch.__version__,
        commit=commit(),
        scored=args.scored,
        images=args.images,
        rounds=args.rounds,
        rows=measure(model, images.to(device), *sizes),
    )
    write_json(result, RECORDS)
    publish(page(result), RECORDS.with_suffix('.md'))


if __name__ == '__main__':
    main()
