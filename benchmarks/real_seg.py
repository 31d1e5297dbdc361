"""Segmentation of real photographs, from a pretrained ViT-Ti.

The folder that EAVIT_DATA names (default: data) has the sets in mmseg's
layout, camvid and pets_seg, and the weights, vit-tiny-p16_in1k_fp16.pth.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmseg
import numpy as np

from benchmarks.accuracy import read_records
from benchmarks.pages import (
    FOLDER,
    commits,
    mean_and_spread,
    publish,
    spread_text,
    table,
)
from benchmarks.real import (
    DENSE,
    EA_VIT,
    EXPORTED,
    STAGE1,
    STAGE2,
    WHOLE,
    Task,
    run_all,
)
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM, area, lead
from eavit_mm.analysis.plots import plot_metric_over_macs

TASK = Task(
    sets=('pets', 'camvid'),
    methods={
        EA_VIT: {
            DENSE: 'configs/eavit_seg/vitti_{}.py',
            STAGE1: 'configs/eavit_seg/vitti_{}.py',
            STAGE2: 'configs/eavit_seg/vitti_{}_stage2.py',
        }
    },
    options={DENSE: WHOLE},
    module='benchmarks.real_seg',
    records=FOLDER / 'real_seg.json',
    metric='mIoU',
    part='backbone',
    # The claims are about four of them.
    budgets=(0.25, 0.3, 0.4, 0.5, 0.625, 0.75, 0.875, 1.0),
    test=Path(mmseg.__file__).parent / '.mim/tools/test.py',
)
Curve = tuple[str, str]
SLICES = (DENSE, UNIFORM)
# What the page shows: whose answers with which weights.
CURVES: dict[str, Curve] = {
    'router': (STAGE2, ROUTER),
    'front': (STAGE2, FRONT),
    'uniform': (STAGE2, UNIFORM),
    'front, stage 1': (STAGE1, FRONT),
    'uniform, stage 1': (STAGE1, UNIFORM),
    'dense, sliced': SLICES,
}
INTRO = """# Segmentation of real photographs

Made by `python -m benchmarks.real_seg` from [real_seg.json](real_seg.json),
which has the command, seed and commit of every run. A ViT-Ti/16 pretrained on
ImageNet-1k at 224 px becomes an elastic segmentor at 144 x 112 px, with a
pyramid (MultiLevelNeck, FPNHead) that has a tenth of the MACs; the configs are
`configs/eavit_seg/vitti_*.py`.

| set | classes | images: training | search | test |
| --- | --- | ---: | ---: | ---: |
| pets: Oxford-IIIT Pets, a part | pet, background, border | 504 | 50 | 139 |
| camvid: CamVid at 240 x 180 px | 11 | 367 | 50 | 233 |

mIoU in per cent on the test images, at their own size, which neither training
nor search sees; mean and standard deviation over seeds. Stage 1 and stage 2
train 250 iterations of 16 images each, one subnet in an iteration; `dense` is
the whole network fine-tuned alone for as many image passes as both together,
at half of the learning rate, and its slices are of its most important units.
Router, front and uniform networks have the weights of stage 2. Budgets are
shares of the backbone's MACs (367.9 M); areas are under mIoU over them."""
FINDINGS = dict(
    pets="""\
One seed so far, so no spread is known. All three shares that were wanted are
missed: the whole network is 6.5 points below the dense one. It trains in a
third of the steps of stage 1 and in fewer of stage 2, where the dense network
has all 500; stage 2 adds 1 point to it, 5 to 6 at a half and less of the MACs,
so none has trained to its end. Of the eight budgets the router is above the
uniform networks at four (by 4.3 points at a quarter, of which they leave a
fifth unused), level at two, below at two (by up to 0.9). Below three quarters
of the MACs all are far above slices, at the two budgets beyond it below them.
In a trial at half of the learning rate and in a wider space the whole network
had 66 on the images of the search after stage 1, here 64: which of the two
costs it that is not known. The dense network and stage 1 were trained by
earlier commits (up to c7e185c and a87b534, the dense one beside a wider space,
which it does not use); the record names the commit of the evaluation, and is
to be measured again as a whole."""
)


def answers(record: Mapping[str, Any], curve: Curve) -> Any:
    """Budget, MACs of the backbone and mIoU of a curve."""
    stage, source = curve
    return record['answers'][stage][source]


def at(record: Mapping[str, Any], curve: Curve, budget: float) -> float:
    """The mIoU of the answer to a budget."""
    return float({b: y for b, _, y in answers(record, curve)}[budget])


def measured(records: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """The curves that every record has: of stages that all have ended."""
    return {
        label: (stage, source)
        for label, (stage, source) in CURVES.items()
        if all(source in r['answers'].get(stage, {}) for r in records)
    }


def claims(records: Sequence[Mapping[str, Any]]) -> str:
    """What was promised beside what was found, seed by seed.

    Of the router, or before stage 2 of the front; before that of nobody.
    """
    own = next(iter(measured(records).values()))
    if own == SLICES:
        return ''
    stage, source = own
    width = (stage, UNIFORM)

    def share(budget: float) -> list[float]:
        return [100 * at(r, own, budget) / at(r, width, 1.0) for r in records]

    def lead_over(other: Curve) -> list[float]:
        return [lead(answers(r, own), answers(r, other)) for r in records]

    def area_over(other: Curve) -> list[float]:
        return [
            area(answers(r, own)) - area(answers(r, other)) for r in records
        ]

    rows = [
        (
            'the largest network less the dense one, points',
            '≥ -1',
            [at(r, width, 1.0) - at(r, SLICES, 1.0) for r in records],
        ),
        ('at half of the MACs, % of the largest', '≥ 95', share(0.5)),
        ('at a quarter, % of the largest', '≥ 88', share(0.25)),
        (f'area: {source} less uniform', '> 0', area_over(width)),
        ('the same over the MACs taken', '> 0', lead_over(width)),
        (f'area: {source} less slices', '> 0', area_over(SLICES)),
    ]
    if source == ROUTER:
        others = lead_over((stage, FRONT))
        rows.append(('router less front, over the MACs taken', '', others))
    if all(r['exported'] is not None for r in records):
        differences = [r['exported'] - at(r, own, EXPORTED) for r in records]
        name = f'exported ({EXPORTED:.0%}), by mmseg, less the supernet'
        rows.append((name, '0', differences))
    cells = [
        [
            name,
            wanted,
            spread_text(values),
            ' '.join(f'{value:.2f}' for value in values),
        ]
        for name, wanted, values in rows
    ]
    return table([f'{source}, {stage}', 'wanted', 'found', 'by seed'], cells)


def section(records: Sequence[Mapping[str, Any]], name: str) -> str:
    """What was measured on one set."""
    rows = [
        [
            label,
            *(
                spread_text([at(r, curve, budget) for r in records], 1)
                for budget in TASK.budgets
            ),
        ]
        for label, curve in measured(records).items()
    ]
    seeds = ', '.join(str(r['seed']) for r in records)
    parts = [
        f'## {name}',
        f'Seeds: {seeds}.',
        f'![mIoU over MACs](real_seg_{name}.png)',
        table(['mIoU (%)', *(f'{b:.1%}' for b in TASK.budgets)], rows),
        claims(records),
        FINDINGS.get(name, ''),
    ]
    return '\n\n'.join(filter(None, parts))


def draw(
    records: Sequence[Mapping[str, Any]], name: str, folder: Path
) -> None:
    """Mean mIoU over the MACs that answers take, and its spread."""
    curves = {}
    for label, curve in measured(records).items():
        points = []
        for found in zip(*(answers(r, curve) for r in records), strict=True):
            _, macs, values = zip(*found, strict=True)
            points.append((float(np.mean(macs)), *mean_and_spread(values)))
        curves[label] = points
    plot_metric_over_macs(
        curves,
        folder / f'real_seg_{name}.png',
        'mIoU (%)',
        f'{name}, test split, MACs of the backbone; seeds: {len(records)}',
    )


def write_report(records: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes real_seg.md and a figure of each set into a folder."""
    parts = [INTRO]
    for name in TASK.sets:
        begun = [r for r in records if r['regime'] == name]
        ended = [r for r in begun if r['exported'] is not None]
        if found := ended or begun:
            draw(found, name, folder)
            parts.append(section(found, name))
    if records:
        parts.append(f'Commits: {commits(records)}.')
    return publish('\n\n'.join(parts), folder / 'real_seg.md')


def main() -> None:
    run_all(TASK, __doc__)
    write_report(read_records(TASK.records), FOLDER)


if __name__ == '__main__':
    main()
