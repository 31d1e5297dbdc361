"""Segmentation of real photographs, from a pretrained ViT-Ti.

The folder that EAVIT_DATA names (default: data) has the sets in mmseg's
layout, camvid and pets_seg, and the weights, vit-tiny-p16_in1k_fp16.pth.
"""

from collections.abc import Sequence
from pathlib import Path

import mmseg

from benchmarks.pages import FOLDER, spread_text, table
from benchmarks.real import (
    DENSE,
    EA_VIT,
    EXPORTED,
    STAGE1,
    STAGE2,
    Task,
)
from benchmarks.real_report import (
    Curve,
    Page,
    Run,
    answers,
    at,
    leads,
    run_page,
    shared,
    trained_alone,
)
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM, area

# Networks cut from the pretrained one and trained alone, by their share of the
# widths: those that uniform widths give for half and a quarter of the MACs.
CUT = {f'alone {share:.0%}': share for share in (0.45, 0.125)}
TASK = Task(
    sets=('pets', 'camvid'),
    methods={
        EA_VIT: {
            DENSE: 'configs/eavit_seg/vitti_{}.py',
            STAGE1: 'configs/eavit_seg/vitti_{}.py',
            STAGE2: 'configs/eavit_seg/vitti_{}_stage2.py',
        },
        **{name: {name: 'configs/eavit_seg/vitti_{}.py'} for name in CUT},
    },
    alone={DENSE: 1.0, **CUT},
    options={},
    module='benchmarks.real_seg',
    records=FOLDER / 'real_seg.json',
    metric='mIoU',
    part='backbone',
    # The claims are about four of them.
    budgets=(0.25, 0.3, 0.4, 0.5, 0.625, 0.75, 0.875, 1.0),
    test=Path(mmseg.__file__).parent / '.mim/tools/test.py',
)
OWN = Curve(EA_VIT, STAGE2, ROUTER)
WIDTHS = Curve(EA_VIT, STAGE2, UNIFORM)
SLICES = Curve(EA_VIT, DENSE, UNIFORM)
CURVES = {
    'router': OWN,
    'front': Curve(EA_VIT, STAGE2, FRONT),
    'uniform': WIDTHS,
    'front, stage 1': Curve(EA_VIT, STAGE1, FRONT),
    'uniform, stage 1': Curve(EA_VIT, STAGE1, UNIFORM),
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
| camvid: CamVid at 240 x 180 px | 11 | 367 | 100 | 233 |

The images keep the names of their files in the published sets and are no part
of this project. `export EAVIT_DATA=DIR`: there they lie as
`{camvid,pets_seg}/{images,annotations}/{train,val,test}/*`, beside the ViT-Ti
of [real_cls.md](real_cls.md).

mIoU in per cent on the test images, at their own size, which neither training
nor search sees; mean and standard deviation over seeds. Stage 1 trains 1,000
and stage 2 3,000 iterations of 8 images each, one subnet in an iteration, in
bfloat16; `dense` is the whole network fine-tuned alone for as many image
passes as both together, its slices are of its most important units. Router,
front and uniform networks have the weights of stage 2. Budgets are shares of
the backbone's MACs (367.9 M); areas are under mIoU over them. `alone` is a
network of that share of the widths, cut from the pretrained one and trained
for as many passes; EA-ViT is compared at its MACs, or at the router's least.
The recipe was chosen on 154 of the training images of pets."""
FINDINGS = dict(
    pets="""\
One seed so far, so no spread is known. The three shares that were wanted are
missed, by 0.5 points, 0.5 % and 3.8 %. With half of the iterations they were
missed by 0.9 points, 1.2 % and 5.6 %: then the router had 70.5 / 66.1 / 58.1 %
at 100 / 50 / 25 % of the MACs, beside 72.4 of the dense network. So the
largest network, which half of the steps of stage 1 and two of five of stage 2
train, has about what the dense one has after half of the passes: to share its
weights costs it the passes of the others and little more. Networks of 45 % and
22 % of the MACs that had all of the passes to themselves reach 92.6 % and
85.1 % of the dense network's mIoU: on so few images that is about what half
and a quarter of the MACs are worth. The router is above uniform networks at
five of eight budgets, by up to 2.6 points (0.6 in the mean over the MACs that
both take, as it uses more of a budget), level at the largest, and 0.3 below at
two.""",
    camvid="""\
One seed so far; nothing of the recipe was chosen here. The shares are missed
by 1.6 points, 1.8 % and 3.5 %. With half of the iterations the router had
40.7 / 38.8 / 35.1 % at 100 / 50 / 25 % of the MACs, beside 42.4 of the dense
network: here, too, the largest network has what the dense one has after half
of the passes, and both still rise with the length. Networks alone of 45 % and
22 % of the MACs reach 91.2 % and 80.0 % of the dense network's mIoU; at a
quarter the elastic one is as good. The router is above uniform networks at
seven of eight budgets, by up to 1.7 points, and level at the largest.""",
)


def claims(runs: Sequence[Run]) -> str:
    """What was promised beside what was found, seed by seed."""
    runs = shared(runs, OWN)
    if not runs:
        return ''

    def share(budget: float) -> list[float]:
        return [100 * at(r, OWN, budget) / at(r, WIDTHS, 1.0) for r in runs]

    def area_over(other: Curve) -> list[float]:
        return [area(answers(r, OWN)) - area(answers(r, other)) for r in runs]

    rows = [
        (
            'the largest network less the dense one, points',
            '≥ -1',
            [at(r, WIDTHS, 1.0) - at(r, SLICES, 1.0) for r in runs],
        ),
        ('at half of the MACs, % of the largest', '≥ 95', share(0.5)),
        ('at a quarter, % of the largest', '≥ 88', share(0.25)),
        ('area: router less uniform', '> 0', area_over(WIDTHS)),
        ('the same over the MACs taken', '> 0', leads(runs, OWN, WIDTHS)),
        ('area: router less slices', '> 0', area_over(SLICES)),
        (
            'router less front, over the MACs taken',
            '',
            leads(runs, OWN, CURVES['front']),
        ),
    ]
    exported = [run[EA_VIT]['exported'] for run in runs]
    if None not in exported:
        differences = [
            value - at(run, OWN, EXPORTED)
            for value, run in zip(exported, runs, strict=True)
        ]
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
    found = table(['router, stage 2', 'wanted', 'found', 'by seed'], cells)
    parts = [found, trained_alone(runs, OWN, CUT)]
    return '\n\n'.join(filter(None, parts))


PAGE = Page(TASK, INTRO, CURVES, claims, FINDINGS, 'mIoU (%)')


if __name__ == '__main__':
    run_page(PAGE, __doc__)
