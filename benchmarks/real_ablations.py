"""EA-ViT on real photographs without one of its parts, or with fewer axes.

Data as in benchmarks.real_cls, whose runs are the whole recipe.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy import read_records
from benchmarks.methods import read_config
from benchmarks.pages import FOLDER
from benchmarks.real import EA_VIT, STAGE1, STAGE2, run_all
from benchmarks.real_cls import OURS, OWN
from benchmarks.real_cls import TASK as WHOLE
from benchmarks.real_report import (
    Curve,
    Page,
    Run,
    lead_table,
    write_page,
)
from benchmarks.stage2 import ROUTER

_CFG = read_config(OURS.format(WHOLE.sets[0]))
_REARRANGE, _CURRICULUM = _CFG.custom_hooks
_LAST = _CURRICULUM['levels'][-1]
_SAMPLER = _CFG.model.sampler
_LARGEST, _WIDE, _ = _SAMPLER['samplers']


def _axes(**space: Any) -> dict[str, dict[str, Any]]:
    """A space with fewer axes, and what trains in it.

    Without narrow streams stage 1's networks are the recipe's wide ones, with
    heads of the space.
    """
    both = {f'model.backbone.space.{key}': v for key, v in space.items()}
    if 'embed_dims' in space:
        subnets = _WIDE['subnets']
        if heads := space.get('num_heads'):
            subnets = [dict(each, num_heads=12 * heads) for each in subnets]
        both['model.sampler'] = dict(
            _SAMPLER,
            samplers=[_LARGEST, dict(_WIDE, subnets=subnets)],
            weights=[3.0, 5.0],
        )
    last = dict(_LAST, max_off=space.get('max_off', _LAST['max_off']))
    levels = [*_CURRICULUM['levels'][:-1], last]
    hooks = [_REARRANGE, dict(_CURRICULUM, levels=levels)]
    return {STAGE1: {**both, 'custom_hooks': hooks}, STAGE2: both}


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
    'no rearrangement': {STAGE1: {'custom_hooks': [_CURRICULUM]}},
    'no Pareto initialisation': {
        STAGE2: {'model.router.fit_steps': 0, 'model.router.pareto_weight': 0}
    },
    'FFN alone': _axes(embed_dims=[192], num_heads=[3], max_off=0),
    'FFN and heads': _axes(embed_dims=[192], max_off=0),
    'FFN, heads and depth': _axes(embed_dims=[192]),
    'FFN, heads and embedding': _axes(max_off=0),
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
EA-ViT is the whole recipe here: a ViT-Ti at 64 px, equal cost, top-1 accuracy
in per cent on the test images, the router's answers. `no curriculum`: all
networks from the first step on. `no rearrangement`: units stay in the order of
the pretrained network. `no Pareto initialisation`: the router begins at
random, and nothing draws it to the front. The other rows have fewer axes; the
whole recipe has all four."""


def claims(runs: Sequence[Run]) -> str:
    """The whole recipe less each variant."""
    return lead_table(runs, OWN, CURVES, CLAIMED, 'the whole recipe less')


FINDINGS = {
    'flowers89': """One seed; that of the whole recipe beside it has 29.1% at
20%, its other seed 38.7. Rearrangement is worth 3 to 11 points from 30% on,
and 5 over all MACs; a router that begins with the front 6 at 30%, 1 over all;
the curriculum 2 to 3 for the larger networks, nothing over all MACs. FFN alone
reaches no network below a third of the MACs. The whole stream with all layers
on, FFN and heads alone, is level or better at each budget that it reaches, by
2.5 over all MACs: here the narrow stream and branches that are off serve the
networks below 13% of the MACs and cost the others.
""",
    'eurosat': """One seed. Rearrangement is worth 2 to 8 points at every
budget, the curriculum 1 for the whole network and nothing in the mean.
""",
}
PAGE = Page(
    TASK, INTRO, {EA_VIT: OWN, **CURVES}, claims, FINDINGS, 'accuracy (%)'
)


def write_report(folder: Path) -> Path:
    """Writes the page and its figures; the whole recipe is beside."""
    whole = [  # what it chooses is shown on the page of the methods
        {**record, 'chosen': None}
        for record in read_records(WHOLE.records)
        if record['method'] == EA_VIT
    ]
    return write_page(PAGE, [*whole, *read_records(TASK.records)], folder)


def main() -> None:
    run_all(TASK, __doc__)
    write_report(FOLDER)


if __name__ == '__main__':
    main()
