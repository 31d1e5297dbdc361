"""The page of models: what the metafiles list and the records measured.

A figure has one place, the record of a run in docs/benchmark: this page reads
it there, and metafiles.py writes it into the metafiles.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any, NamedTuple

import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # of the benchmarks, which are not installed

from benchmarks import real_cls, real_seg, snap, stage2  # noqa: E402
from benchmarks.accuracy import read_records  # noqa: E402
from benchmarks.methods import DEFAULT, METHODS  # noqa: E402
from benchmarks.pages import spread_text  # noqa: E402
from benchmarks.real_report import at, runs_of, shared  # noqa: E402

HALF = 0.5
TOP1 = 'Top 1 Accuracy'
UNITS = ((10**9, 'G'), (10**6, 'M'), (10**3, 'k'))
WHAT = """# Models

One row a config; its name leads to its commands. Results are top-1 accuracy or
mIoU in per cent. *Ours* is the answer to a budget of all MACs: the mean and
spread over seeds of the records behind the page that is named, which says how
long was trained. There all methods have one cost, so that their training may
be shorter than in their configs. *Paper* is what was published, at all MACs
where none are named; of the baselines, what EA-ViT's paper measured.

No adapted network was published: the one file of weights here is the ViT-mini
of [vit](../configs/vit/README.md), and each of the others is what its commands
train.

Records of photographs want their folder, `export EAVIT_DATA=DIR`; what lies in
it is said [there](benchmark/real_cls.md).
"""


class Figure(NamedTuple):
    """What was measured, where it is reported, and by which command."""

    text: str
    page: str
    command: str
    seeds: int
    metrics: Mapping[str, float]  # as the metafiles name them


def over_seeds(
    page: str,
    command: str,
    runs: Mapping[int, float],
    metrics: Mapping[str, Iterable[float]],
    note: str = '',
) -> Figure:
    """The mean over the seeds, which the command is given."""
    seeds = f'{len(runs)} seed{"s" * (len(runs) > 1)}'
    text = f'{spread_text([*runs.values()])} ({note}{seeds})'
    asked = ' '.join(map(str, runs))
    command += f' --seeds {asked}'
    return Figure(text, page, command, len(runs), means(metrics))


def means(metrics: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """The metrics' means over seeds, as precise as the page has them."""
    return {name: round(fmean(runs), 2) for name, runs in metrics.items()}


def of_photographs(benchmark: ModuleType) -> Iterator[tuple[str, Figure]]:
    """Each config of a method's elastic stages, and the method's figure."""
    task = benchmark.TASK
    records = read_records(task.records)
    label = 'mIoU' if task.metric == 'mIoU' else TOP1
    curves = [
        benchmark.OWN,
        *getattr(benchmark, 'BASELINE_CURVES', {}).values(),
    ]
    for name, curve in product(task.sets, curves):
        runs = shared(runs_of(records, name).values(), curve)
        found = {
            run[curve.method]['seed']: at(run, curve, task.budgets[-1])
            for run in runs
        }
        command = f'python -m {task.module} --methods {curve.method}'
        command += f' --sets {name}'
        metrics = {label: found.values()}
        half = [at(run, curve, HALF) for run in runs]
        metrics[f'{label} at {HALF:.0%} of the MACs'] = half
        stages = task.methods[curve.method]
        paths = {v for k, v in stages.items() if k not in task.alone}
        for path in paths if found else ():
            figure = over_seeds(task.records.stem, command, found, metrics)
            yield path.format(name), figure


def of_fashion() -> Iterator[tuple[str, Figure]]:
    """Each config that was measured as it is, and EA-ViT's stage 2."""
    records = [r for r in read_records() if r['regime'] == stage2.REGIME]
    for label, method in METHODS.items():
        found = {
            run['seed']: max(run['test'].values())[1]  # of the most MACs
            for run in records
            if run['method'] == label
        }
        if found and not method.options and method.curriculum == 'all':
            command = f'python -m benchmarks.accuracy --methods {label}'
            command += f' --regimes {stage2.REGIME}'
            note = 'stage 1, ' * (label == DEFAULT)
            metrics = {TOP1: found.values()}
            figure = over_seeds('accuracy', command, found, metrics, note)
            yield method.config, figure
    found = {
        run['seed']: run['answers'][stage2.ROUTER][-1][-1]
        for run in json.loads(stage2.RECORDS.read_text())
        if run['variant'] == stage2.PLAIN
    }
    command = 'python -m benchmarks.stage2'
    # The metafile has the accuracy of the config, which is stage 1's.
    figure = over_seeds('stage2', command, found, {}, 'stage 2, ')
    yield METHODS[DEFAULT].config, figure


def of_cuts() -> Iterator[tuple[str, Figure]]:
    """SnapViT's networks, which nothing trains."""
    records = read_records(snap.RECORDS)
    for name in snap.SETS:
        runs = {
            run['seed']: run
            for run in records
            if (run['method'], run['regime']) == (snap.START, name)
        }
        if runs:
            cuts = [*zip(*(r['cut'] for r in runs.values()), strict=True)]
            text = ', '.join(spread_text(values, 1) for values in cuts)
            kept = next(iter(runs.values()))['kept']
            shares = [f'{share:.0%}' for share in kept]
            text += f" at {', '.join(shares)} of the blocks' MACs"
            text += f' (20 neighbours; {name})'
            metrics = {
                f"{TOP1} on {name} at {share} of the blocks' MACs": values
                for share, values in zip(shares, cuts, strict=True)
            }
            asked = ' '.join(map(str, runs))
            command = f'python -m benchmarks.snap --sets {name} --seeds '
            command += asked
            found = means(metrics)
            figure = Figure(text, 'snap', command, len(runs), found)
            yield snap.CONFIG, figure


def measured() -> dict[str, list[Figure]]:
    """The figures of each config that has a record."""
    figures = defaultdict(list)
    for found in (
        of_photographs(real_cls),
        of_photographs(real_seg),
        of_fashion(),
        of_cuts(),
    ):
        for config, figure in found:
            figures[config].append(figure)
    return dict(figures)


def phases(config: str) -> list[tuple[str, Config]]:
    """A config, behind those whose last checkpoints it begins with."""
    cfg = Config.fromfile(ROOT / config)
    before = re.match(r'work_dirs/([^/]+)/', cfg.get('load_from') or '')
    if not before:
        return [(config, cfg)]
    earlier = Path(config).with_name(f'{before[1]}.py')
    return [*phases(str(earlier)), (config, cfg)]


def commands(model: Mapping[str, Any]) -> list[str]:
    """What trains and tests a config: all stages or phases, in order."""
    config = model['Config']
    both = config.replace('.py', '_stage2.py')
    if (ROOT / both).is_file():
        found = f'python tools/adapt.py {both}'
        # The budget that the paper's tables are about.
        published = ''.join(model['Results'][0].get('Paper', ()))
        return [found + ' --budgets 8GMACs' * ('8 GMACs' in published)]
    folder = f'work_dirs/{Path(config).stem}'
    if config.startswith('configs/snapvit'):
        return [
            f'python tools/snap.py {config} '
            'checkpoints/vit-tiny-p16_in1k_fp16.pth --images 890',
            f'python tools/test.py {config} {folder}/snap.pth --front '
            f'{folder}/pareto.json --budgets 80% 60%',
        ]
    later = config.replace('.py', '_phase2.py')
    found, before, options = [], '', ''
    for path, cfg in phases(later if (ROOT / later).is_file() else config):
        router = cfg.model.get('router') or {}
        if table := router.get('latency_table'):
            found.append(f'python tools/latency.py build {before} {table}')
            options = f' --latency-table {table}'
        found.append(f'python tools/train.py {path}')
        before = path
    if 'space' not in cfg.model.backbone:
        return found
    length = cfg.train_cfg.get('max_iters')
    name = f'iter_{length}' if length else f'epoch_{cfg.train_cfg.max_epochs}'
    last = f'work_dirs/{Path(before).stem}/{name}.pth'
    return [*found, f'python tools/test.py {before} {last}{options}']


def short(count: int) -> str:
    """A count with three digits."""
    size, unit = next(k for k in UNITS if count >= k[0])
    return f'{count / size:.3g}&nbsp;{unit}'


def numbers(metrics: Mapping[str, float]) -> str:
    """A metafile's numbers, with what they are beside the usual metric."""
    return ', '.join(
        f'{value:.2f} {name.removeprefix("Top 1 Accuracy").strip()}'.strip()
        for name, value in metrics.items()
    )


def row(model: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """A config in its folder's table."""
    size, (result,) = model['Metadata'], model['Results']
    ours = '; '.join(
        f'{figure.text}, [{figure.page}](benchmark/{figure.page}.md)'
        for figure in figures
    )
    name = model['Name'].replace('_', '_<wbr>')  # broken where it is long
    cells = [
        f'[{name}](#{model["Name"].lower()})',
        ours or numbers(result['Metrics']) or 'not run',
        numbers(result.get('Paper', {})),
        result['Dataset'],
        short(size['Parameters']),
        short(size['FLOPs']),
    ]
    return f'| {" | ".join(cells)} |\n'


def models() -> Iterator[str]:
    """All models, folder by folder, and how each is made."""
    yield WHAT
    figures = measured()
    listed = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for file in listed['Import']:
        folder = Path(file).parent
        entries = yaml.safe_load((ROOT / file).read_text())['Models']
        yield f'\n## {folder.name}\n\nRecipes, data, more figures: '
        yield f'[{folder}](../{folder}/README.md).\n\n'
        yield '| config | ours | paper | data | params | MACs |\n'
        yield '| --- | --- | --- | --- | ---: | ---: |\n'
        for model in entries:
            yield row(model, figures.get(model['Config'], ()))
        for model in entries:
            lines = commands(model)
            if known := figures.get(model['Config']):
                lines += ['', '# what was measured']
                lines += [figure.command for figure in known]
            text = '\n'.join(lines)
            yield f'\n### {model["Name"]}\n\n```bash\n{text}\n```\n'
