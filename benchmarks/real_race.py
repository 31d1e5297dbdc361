"""Searches of real supernets that race, that do not, and from SnapViT's cuts.

Data and supernets are those of real_cls, EA-ViT's after stage 1.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from benchmarks.accuracy import LOG, add_record, call, read_records, train
from benchmarks.methods import read_config
from benchmarks.pages import (
    FOLDER,
    commit,
    commits,
    publish,
    spread_text,
    table,
)
from benchmarks.real import (
    EA_VIT,
    STAGE1,
    configs_of,
    cost_of,
    hash_of,
    parse_runs,
    placed,
    searched,
)
from benchmarks.real_cls import OURS, TASK
from benchmarks.search import (
    FORWARDS,
    curve_of,
    forwards,
    mean_curve,
    members_in,
)
from eavit_mm.analysis.plots import plot_hypervolume
from eavit_mm.files import write_atomically

RECORDS = FOLDER / 'real_race.json'
SEARCH = read_config(OURS.format('eurosat')).search_cfg
FULL, RACING, CUTS = 'all images', 'racing', "racing, SnapViT's cuts"
AT_EQUAL = 'at equal forwards'
CUT_IMAGES = 200
SHARES = ', '.join(map(str, SEARCH.race))
HALF = 50
FINDING = """A race finds as much hypervolume for 54% of the forwards, and more
than the search on all images had found after as many. After half of the
forwards a race lacks 0.0025 ± 0.0050 of it (0.0098 in one search, 0.0011 and
less in three), the search on all images 0.0065 ± 0.0049. One that begins with
SnapViT's cuts finds more than both, in each of flowers89's searches and one of
eurosat's two; with their scores it costs about as much as the search on all
images. Of supernets of all four axes, five sets with two seeds, a race took
55% of the forwards and of the cost and differed by -0.0015 ± 0.0137, 0.0142 ±
0.0143 at equal forwards. Where nobody could leave in the first generation, 40
of the 100 subnets, it took 63% and had less in nine of ten; the first eight
are rivals of the others since (records of commits c968f2853c and
e12ce4227a)."""
INTRO = f"""# Racing in the search, on real photographs

Made by `python -m benchmarks.real_race` from [real_race.json](real_race.json).
Supernets are EA-ViT's of [real_cls.md](real_cls.md) after stage 1, the
searches theirs: {SEARCH.max_evaluations} subnets on {TASK.images} images.
Subnets of `{RACING}` may leave after shares of the images of
{SHARES}; of `{FULL}` none may.
`{CUTS}` races and begins with the front that `tools/snap.py`
cuts out of the pretrained network with {CUT_IMAGES} images of the training;
their scores cost an eighth of the training beside it. Hypervolume: accuracy 0
and the MACs of the largest as reference point, on the images of the search.
Forwards: images that all subnets together were evaluated on, as a share of
all images for all; of a racing candidate the figure counts those that it saw,
and draws what saw all.
Cost: MACs of the forwards while a search goes on, as a share of
those that each method there trains with, {TASK.passes:,} images through the
whole network and back. Differences of hypervolume: of a search's end to that
of `{FULL}`; of the same search after {HALF}% of the forwards to that end; of a
search's end to what `{FULL}` had after as many forwards. Mean and standard
deviation over seeds."""


def arms(cfg: Config, folder: Path) -> Iterator[tuple[str, Config]]:
    """How a supernet is searched; it lies in the folder."""
    config, front = folder / 'snap.py', folder / 'snap/pareto.json'
    if not front.exists():
        write_atomically(cfg.pretty_text.encode(), config)
        weights = cfg.model.backbone.init_cfg.checkpoint
        how = ('--images', str(CUT_IMAGES), '--work-dir', str(front.parent))
        how = (*how, '--cfg-options', 'model.new_head=True')
        call('tools/snap.py', str(config), weights, *how, log=folder / LOG)
    full, cut = (Config(cfg.to_dict()) for _ in range(2))
    full.search_cfg.race = None
    cut.search_cfg.algorithm = dict(type='eavit_mm.NSGA2', start=str(front))
    yield from ((FULL, full), (RACING, cfg), (CUTS, cut))


def record_of(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """All searches of one supernet; what was done is not repeated."""
    cfg = placed(configs_of(TASK, EA_VIT, name, seed)[STAGE1])
    work_dir, checkpoint = train(cfg, folder)
    found: dict[str, Any] = {}
    for label, each in arms(cfg, work_dir):
        measured = work_dir / hash_of(TASK, {STAGE1: each})
        measured.mkdir(exist_ok=True)
        front = searched(each, f'{name}, {label}', checkpoint, measured)
        text = (front.parent / LOG).read_text()
        members = members_in(front.parent)
        # Every search begins with the largest, among others.
        whole = max(member.macs for member in members)
        found[label] = dict(
            hypervolume=json.loads(front.read_text())['hypervolume'],
            forwards=forwards(text),
            cost=cost_of(members, whole, TASK.images) / TASK.passes,
            curve=curve_of(members, whole),
        )
    return dict(
        method=EA_VIT,
        regime=name,
        seed=seed,
        commit=commit(),
        command=f'python -m benchmarks.real_race --sets {name} --seeds {seed}',
        found=found,
    )


def after(searched: Mapping[str, Any], forwards: float) -> float:
    """Hypervolume after so many of the forwards, in per cent of all."""
    used, volumes = zip(*searched['curve'], strict=True)
    # Back from the end: what a race evaluates again then, no curve counts.
    less = (searched['forwards'] - forwards) * SEARCH.max_evaluations / 100
    return float(np.interp(used[-1] - less, used, volumes))


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """What was found on each set, and on all."""
    rows = []
    sets = [s for s in TASK.sets if any(r['regime'] == s for r in records)]
    for title, names in (*((s, [s]) for s in sets), ('all', sets)):
        found = [r['found'] for r in records if r['regime'] in names]
        for label in (FULL, RACING, CUTS):
            own = [each[label] for each in found]
            cells = [spread_text([each['hypervolume'] for each in own], 4)]
            whole = [each[FULL]['hypervolume'] for each in found]
            volumes = [each['hypervolume'] for each in own]
            equal = [
                after(each[FULL], each[label]['forwards']) for each in found
            ]
            for mine, other in (
                (volumes, whole),
                ([after(each, HALF) for each in own], whole),
                (volumes, equal),
            ):
                less = [a - b for a, b in zip(mine, other, strict=True)]
                cells.append(spread_text(less, 4))
            if label == FULL:  # less itself
                cells[1] = cells[3] = ''
            cells.append(spread_text([each['forwards'] for each in own], 1))
            cells.append(spread_text([each['cost'] for each in own]))
            rows.append([f'{title} ({len(found)})', label, *cells])
    header = ['set (seeds)', 'search', 'hypervolume', 'difference']
    header += [f'after {HALF}%', AT_EQUAL]
    figure = '![hypervolume over forwards](real_race.png)'
    last = f'Commits: {commits(records)}.'
    header += ['forwards (%)', 'cost']
    return '\n\n'.join([INTRO, table(header, rows), figure, FINDING, last])


def write_report(records: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes real_race.md and its figure into a folder."""
    curves = {
        label: mean_curve([r['found'][label]['curve'] for r in records])
        for label in (FULL, RACING, CUTS)
    }
    plot_hypervolume(curves, folder / 'real_race.png', FORWARDS)
    return publish(page(records), folder / 'real_race.md')


def main() -> None:
    args = parse_runs(TASK, __doc__, seeds=2)
    folder = Path(args.work_dir).absolute()
    if not args.report:
        for seed in args.seeds:
            for name in args.sets:
                add_record(record_of(name, seed, folder), RECORDS)
                print(f'{name}, seed {seed}: measured', flush=True)
    write_report(read_records(RECORDS), FOLDER)


if __name__ == '__main__':
    main()
