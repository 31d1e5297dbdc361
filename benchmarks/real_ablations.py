"""EA-ViT on real photographs without one of its parts, or with other axes.

Data as in benchmarks.real_cls, whose EA-ViT has two of the four axes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy import read_records
from benchmarks.methods import read_config
from benchmarks.pages import FOLDER
from benchmarks.real import EA_VIT, STAGE1, STAGE2, run_all
from benchmarks.real_cls import OURS, OWN, STREAMS
from benchmarks.real_cls import TASK as WHOLE
from benchmarks.real_report import (
    Curve,
    Page,
    Run,
    lead_table,
    write_page,
)
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM

_CFG = read_config(OURS.format(WHOLE.sets[0]))
_REARRANGE, _CURRICULUM = _CFG.custom_hooks
_LAST = _CURRICULUM['levels'][-1]
_SAMPLER = _CFG.model.sampler
_LARGEST, _TRAINED = _SAMPLER['samplers']
# The smallest two networks of stage 1, where the stream may be narrow.
_NARROW = [
    dict(
        _TRAINED['subnets'][0],
        embed_dims=STREAMS[0],
        feedforward_channels=[channels] * 12,
    )
    for channels in (32, 96)
]
FOUR, SNAP = 'all four axes', 'SnapViT order'
UNSORTED = 'no rearrangement'


def _axes(
    heads: bool = True, depth: bool = False, embedding: bool = False
) -> dict[str, dict[str, Any]]:
    """A space of other axes, and what trains in it. No race."""
    space = dict(
        embed_dims=STREAMS if embedding else STREAMS[-1:],
        num_heads=[1, 2, 3] if heads else [3],
        max_off=2 if depth else 0,
    )
    subnets = _TRAINED['subnets']
    if not heads:
        subnets = [dict(each, num_heads=[3] * 12) for each in subnets]
    samplers = [_LARGEST, dict(_TRAINED, subnets=subnets)]
    weights = [3.0, 5.0]
    if embedding:
        samplers.append(dict(_TRAINED, subnets=_NARROW))
        weights = [3.0, 3.0, 2.0]
    last = dict(
        _LAST, embed_dims=STREAMS[0], max_off=space['max_off'], p_off=0.05
    )
    levels = [*_CURRICULUM['levels'][:-1], last]
    both = {
        **{f'model.backbone.space.{key}': v for key, v in space.items()},
        'model.sampler': dict(_SAMPLER, samplers=samplers, weights=weights),
    }
    return {
        STAGE1: {
            **both,
            'custom_hooks': [_REARRANGE, dict(_CURRICULUM, levels=levels)],
            'search_cfg.race': None,
        },
        STAGE2: both,
    }


# What a variant changes in the two stages.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    'no curriculum': {
        STAGE1: {
            'custom_hooks': [
                _REARRANGE,
                dict(_CURRICULUM, levels=[dict(_LAST, begin=0)]),
            ]
        }
    },
    UNSORTED: {STAGE1: {'custom_hooks': [_CURRICULUM]}},
    SNAP: {
        STAGE1: {
            'custom_hooks': [
                dict(
                    _REARRANGE, criterion=dict(type='eavit_mm.FisherCriterion')
                ),
                _CURRICULUM,
            ]
        }
    },
    'no Pareto initialisation': {
        STAGE2: {'model.router.fit_steps': 0, 'model.router.pareto_weight': 0}
    },
    FOUR: _axes(depth=True, embedding=True),
    'FFN alone': _axes(heads=False),
    'FFN and heads': _axes(),
    'FFN, heads and depth': _axes(depth=True),
    'FFN, heads and embedding': _axes(embedding=True),
}
TASK = replace(
    WHOLE,
    methods={
        name: {
            f'{stage}, {name}': path
            for stage, path in WHOLE.methods[EA_VIT].items()
        }
        for name in VARIANTS
    },
    alone={},
    options={
        f'{stage}, {name}': changed
        for name, stages in VARIANTS.items()
        for stage, changed in stages.items()
    },
    module='benchmarks.real_ablations',
    records=FOLDER / 'real_ablations.json',
)
CURVES = {name: Curve(name, f'{STAGE2}, {name}', ROUTER) for name in VARIANTS}
CLAIMED = (0.2, 0.3, 0.5, 1.0)
INTRO = """# EA-ViT without its parts, on real photographs

Made by `python -m benchmarks.real_ablations` from
[real_ablations.json](real_ablations.json), which has the command, seed and
commit of every run. All is as on [the page of the methods](real_cls.md), whose
EA-ViT stands beside: a ViT-Ti at 64 px, equal cost, top-1 accuracy in per cent
on the test images, the router's answers. EA-ViT has FFN and heads of each
layer, and its search races. That recipe without a part: `no curriculum`, all
networks from the first step on; `no rearrangement`, units stay in the order of
the pretrained network; `SnapViT order`, that of [its local
scores](../snapvit.md) of the same 512 images in place of their activations,
which costs a third of the training beside it; `no Pareto initialisation`, the
router begins at random, and nothing draws it to the front. The remaining rows
have other axes, and their searches do not race: `all four axes` has two thirds
of the residual stream, and two branches that are off, as well. Its networks
trained at commits 32e0c9888a (seed 0) and 87d04943d2 (1), as EA-ViT's of that
time, and were asked again when a measured answer could take the place of the
router's choice."""


def claims(runs: Sequence[Run]) -> str:
    """The recipe less each variant, and other orders after stage 1."""
    parts = [lead_table(runs, OWN, CURVES, CLAIMED, 'EA-ViT less')]
    for source in (FRONT, UNIFORM):
        others = {
            name: Curve(name, f'{STAGE1}, {name}', source)
            for name in (UNSORTED, SNAP)
        }
        own = Curve(EA_VIT, STAGE1, source)
        title = f'EA-ViT after stage 1, {source}, less'
        parts.append(lead_table(runs, own, others, CLAIMED, title))
    return '\n\n'.join(filter(None, parts))


FINDINGS = {
    'flowers89': """EA-ViT has three seeds, all four axes two, SnapViT's order
two after stage 1 alone, the others one. Rearrangement is worth 6 points over
all MACs after stage 1 and 5 in the end, the curriculum 2. A router that begins
with the front is worth 2 to 5 points at 20 and 30% and for the whole network,
and 1 over all MACs. SnapViT's order is 2 to 3 points worse over all MACs than
that of activation, 7 to 9 at half. FFN alone reaches no network below a third
of the MACs. Against heads and FFN, all four axes lose 1 point over all MACs
(beside the seed without a race 2.5): the narrow stream and branches that are
off serve networks below 16%. Of all four axes, seed 0, rearrangement was worth
3 to 11 points from 30% on, and the curriculum 2 to 3 for the larger networks
and nothing over all MACs (records of commit 7c1ee5856b).
""",
    'dtd10': """All four axes are as good here as heads and FFN, within the
spread.
""",
    'eurosat': """Two seeds of all four axes and of SnapViT's order, the latter
after stage 1 alone, one of the others. Rearrangement is worth 10 to 13 points
over all MACs after stage 1, 18 at half, but takes 10 from uniform networks at
20%; in the end it is worth 5. The curriculum is worth 0.4 points over all
MACs, which one seed does not tell from nothing. SnapViT's order is 2 to 3
points worse over all MACs than that of activation. Against heads and FFN, all
four axes lose a third of a point, within the spread; 1.4 beside the seed
without a race.
""",
    'btmri': """All four axes lose 2 points, within the spread.
""",
    'cifar100': """All four axes lose 2 points, more than the spread.
""",
}
PAGE = Page(
    TASK, INTRO, {EA_VIT: OWN, **CURVES}, claims, FINDINGS, 'accuracy (%)'
)


def write_report(folder: Path) -> Path:
    """Writes the page and its figures; the recipe is beside."""
    recipe = [  # what it chooses is shown on the page of the methods
        {**record, 'chosen': None}
        for record in read_records(WHOLE.records)
        if record['method'] == EA_VIT
    ]
    return write_page(PAGE, [*recipe, *read_records(TASK.records)], folder)


def main() -> None:
    run_all(TASK, __doc__)
    write_report(FOLDER)


if __name__ == '__main__':
    main()
