"""The page that an adaptation leaves behind, read from its other files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader
from matplotlib.ticker import MaxNLocator

from eavit_mm.analysis.subnet_table import cost_unit
from eavit_mm.files import read_json, write_atomically
from eavit_mm.search.evaluations import read_evaluations
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cells import BRANCHES
from eavit_mm.space.pareto import Member, ParetoFront, standard_error

# Table of evaluated networks to the folder of their exports.
EXPORTS = dict(budgets='export', presets='presets')
PAGE = 'report.html'
_TEMPLATE = Path(__file__).with_suffix('.html.j2')
# What is linked, if it is there.
_FILES = (
    *('budgets.json', 'presets.json', 'search/pareto.json'),
    *('search/anatomy.png', 'search/hypervolume.png'),
    *('stage1.py', 'stage2.py', 'stages.json', 'adapt.log'),
)
_PER_CENT = ('accuracy/', 'single-label/', 'mIoU', 'mAcc', 'aAcc', 'mDice')
# Who answers a budget, in words.
_BY = dict(router='the router', front='the front', uniform='uniform widths')
_SERIES = dict(
    **dict(uniform='uniform widths', front='front'),
    **dict(budgets='answers to budgets', presets='presets'),
)
_MARGIN = 0.06  # of the range of a metric, above and below its points
_BROKEN = (
    *(OSError, LookupError, ValueError, TypeError),
    *(AttributeError, ArithmeticError),
)
Content = TypeVar('Content')
Values = dict[str, Any]


def write_page(folder: Path, is_quick: bool = False) -> Path:
    """Writes ``report.html`` into the work directory of an adaptation.

    It says what the files there say: nothing is measured, and what is missing
    or broken is left out. It says as well that the adaptation was a short
    trial, if ``is_quick``. Its paths begin in that directory.
    """
    found = _read(_front, folder / 'search' / 'pareto.json')
    tables = [
        table
        for name in EXPORTS
        if (table := _read(_table, folder / f'{name}.json', folder))
    ]
    networks = [network for table in tables for network in table['networks']]
    pages = Environment(
        autoescape=True,
        loader=FileSystemLoader(_TEMPLATE.parent),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(python=repr, quote=quote)
    text = pages.get_template(_TEMPLATE.name).render(
        name=folder.name,
        is_quick=is_quick,
        data=_read(_data, folder / 'stages.json'),
        found=found,
        charts=list(_charts(folder, found, tables)),
        tables=tables,
        anatomy=_anatomy(found, networks),
        files=[name for name in _FILES if (folder / name).exists()],
    )
    # A class may be named after a folder whose name is not UTF-8.
    write_atomically(text.encode(errors='replace'), folder / PAGE)
    return folder / PAGE


def _read(
    build: Callable[..., Content], path: Path, *more: Any
) -> Content | None:
    """What is made of a file; None if it is missing, or broken in any way."""
    try:
        return build(path, *more)
    except _BROKEN:
        return None


def _front(path: Path) -> Values:
    """A front, of the space that it names, and its members in words."""
    values = read_json(path, dict)
    front = ParetoFront.from_dict(values, SearchSpace(**values['space']))
    members = [_of_member(member, front) for member in front.members]
    return dict(front=front, size=front.space.size(), members=members)


def _of_member(member: Member, front: ParetoFront) -> Values:
    values = member.to_dict()
    return values | _texts(values, front.metric, front.samples)


def _cloud(path: Path, front: ParetoFront) -> list[Values]:
    """All that the search of a front evaluated, on all images."""
    _, members = read_evaluations(path, front.space)
    return [
        _of_member(member, front)
        for member in members
        if not member.parts or str(front.samples) in member.parts
    ]


def _data(path: Path) -> Values:
    """Samples of each data set, and the names of the classes."""
    samples: dict[str, str] = {}
    classes: list[str] = []
    for note in read_json(path, dict).values():
        for name, data in note['source']['data'].items():
            samples[name] = f'{data["samples"]:,}'
            classes = list(data['classes'] or classes)
    return dict(samples=samples, classes=classes)


def _table(path: Path, folder: Path) -> Values:
    """A table of networks that tools/test.py wrote, and their exports."""
    table = read_json(path, dict)
    metric, samples = table['metric'], table['samples']
    checkpoint = '/'.join(Path(table['checkpoint']).parts[-2:])
    exports = folder / EXPORTS[path.stem]
    rows = [
        _read(_network, exports, row, metric, samples)
        for row in table['subnets']
    ]
    networks = [row for row in rows if row]
    reports = [row['report'] for row in networks if row['report']]
    return dict(
        kind=path.stem,
        config=Path(table['config']).name,
        checkpoint=checkpoint,
        metric=metric,
        samples=f'{samples:,}',
        by=', '.join(dict.fromkeys(row['by'] for row in networks)),
        # What budgets limit, if not the whole network.
        part=next(
            (
                p
                for row in networks
                if (p := row.get('part', 'total')) != 'total'
            ),
            '',
        ),
        networks=networks,
        largest=reports[0]['largest'] if reports else None,
        timed='; '.join(dict.fromkeys(r['timed'] for r in reports)),
    )


def _network(
    exports: Path, row: Values, metric: str, samples: int | None
) -> Values:
    """A row of a table with all that is shown of it, and its export."""
    place = exports / row['budget']
    return dict(
        row,
        place=f'{exports.name}/{row["budget"]}',
        report=_read(_report, place / 'report.json', row),
        subnet=Subnet.from_dict(row['subnet']).to_dict(),
        by=_BY.get(row['by'], row['by']),
        used=f'{row["used"]:.1%}',
        macs_ratio=f'{row["macs_ratio"]:.1%}',
        limit=float(row['limit']),
        **_texts(row, metric, samples),
    )


def _report(path: Path, row: Values) -> Values:
    """The certificate of an export in words, if of the table's network."""
    report = read_json(path, dict)
    if report['subnet'] != row['subnet']:
        raise ValueError('of another network')
    sizes = {f: f'{n / 1e6:.2f} MB' for f, n in report['bytes'].items()}
    files = [
        (f, sizes[f], ', '.join(f'{v:.2g} in {t}' for t, v in found.items()))
        for f, found in report['max_difference'].items()
    ]
    costs = {c: report[f'{c}_of_largest'] for c in ('macs', 'params')}
    times, given = report['latency_ms'], report['input']
    pixels = ' × '.join(map(str, given['shape']))
    if given['channel_order'] is not None:  # known of 1 and 3 channels
        pixels += f', {given["channel_order"]}'
    if given.get('mean'):
        mean, std = (
            ' '.join(str(round(value, 2)) for value in given[name])
            for name in ('mean', 'std')
        )
        pixels += f', (pixel - {mean}) / {std} with pixels from 0 to 255'
    return dict(
        sizes=sizes,
        size=sizes['model.pth'],
        files=files,
        latency=f'{times["exported"]:.2f} ms',
        # Other exports were timed in other runs: no ratio between them.
        latency_ratio=f'{times["exported"] / times["largest"]:.1%}',
        timed=f'{times["device"]}, {times["dtype"]}, batch '
        f'{times["batch_size"]}, threads: {times["threads"]}',
        largest=_costs(costs),
        batch_sizes=' and '.join(map(str, report['batch_sizes'])),
        images=f'{report["images"]:,}' if report['images'] else '',
        is_segmentor='align_corners' in given,
        has_head=report['params_of_parts'].get('head'),
        pixels=pixels,
    )


def _costs(row: Mapping[str, Any]) -> dict[str, str]:
    """Those of a network that are known, in words with units."""
    texts = {}
    for cost in ('macs', 'params', 'latency'):
        if row.get(cost) is not None:
            scale, name = cost_unit(cost, row[cost])
            name = name.removesuffix(' per image')
            name = dict(params='Mparams', latency='ms').get(cost, name)
            texts[cost] = f'{row[cost] / scale:.3f} {name}'
    return texts


def _texts(row: Mapping[str, Any], metric: str, samples: int | None) -> Values:
    """Costs and metric of a network, in words with units."""
    value = row['metrics'].get(metric)
    quality = 'not a number'
    if value is not None:
        error = standard_error(metric, value, samples)
        spread = f' ± {error:.2f}' if error else ''
        quality = f'{value:.2f}{spread}{_unit(metric)}'
    return dict(texts=_costs(row), value=value, quality=quality)


def _unit(metric: str) -> str:
    return ' %' if metric.startswith(_PER_CENT) else ''


def _charts(
    folder: Path, found: Values | None, tables: Sequence[Values]
) -> Iterator[Values]:
    """The metric over each cost that the search was about."""
    series: list[Values] = []
    cloud: list[Values] = []
    metric, costs = tables[0]['metric'] if tables else '', ['macs']
    if found:
        front = found['front']
        metric, costs, held = front.metric, front.costs, 'search'
        if front.samples:
            held += f', {front.samples:,} held-out samples'
        path = folder / 'search' / 'evaluations.jsonl'
        cloud = _read(_cloud, path, front) or []
        ladder = {str(s.to_dict()) for s in front.space.uniform_ladder}
        uniform = [row for row in cloud if str(row['subnet']) in ladder]
        for kind, rows in (('uniform', uniform), ('front', found['members'])):
            name = f'{_SERIES[kind]} ({held})'
            series.append(dict(kind=kind, name=name, rows=rows))
    for table in tables:
        if table['metric'] == metric:  # one axis for all
            kind, rows = table['kind'], table['networks']
            name = f'{_SERIES[kind]}, by {table["by"]} (test, '
            name += f'{table["samples"]} samples)'
            series.append(dict(kind=kind, name=name, rows=rows))
    for cost in costs:
        if chart := _chart(cost, series, cloud):
            yield dict(chart, metric=metric, unit=_unit(metric))


def _chart(
    cost: str, series: Sequence[Values], cloud: Sequence[Values]
) -> Values | None:
    """One picture; all places in per cent of its width and height."""

    def has(row: Values) -> bool:
        return row['value'] is not None and row.get(cost) is not None

    shown = [
        dict(one, rows=sorted(filter(has, one['rows']), key=lambda r: r[cost]))
        for one in series
    ]
    rows = [row for one in shown for row in one['rows']]
    if not rows:
        return None
    unit, name = cost_unit(cost, max(row[cost] for row in rows))
    limits = [r['limit'] for r in rows if r.get('delivered') == r[cost]]
    right = 1.03 * max([*limits, *(row[cost] for row in rows)]) / unit
    values = [row['value'] for row in rows]
    margin = _MARGIN * (max(values) - min(values)) or 1.0
    low, high = min(values) - margin, max(values) + margin

    def x(value: float) -> str:
        return f'{100 * value / unit / right:.2f}'

    def y(value: float) -> str:
        return f'{100 * (high - value) / (high - low):.2f}'

    for one in shown:
        one['points'] = [(x(r[cost]), y(r['value']), r) for r in one['rows']]
    return dict(
        cost=cost,
        axis=name,
        series=[one for one in shown if one['rows']],
        cloud=[(x(r[cost]), y(r['value'])) for r in filter(has, cloud)],
        limits=[x(limit) for limit in limits],
        across=[(x(v * unit), f'{v:g}') for v in _ticks(0, right)],
        up=[(y(v), f'{v:g}') for v in _ticks(low, high)],
    )


def _ticks(low: float, high: float) -> list[float]:
    ticks = MaxNLocator(6).tick_values(low, high)
    return [float(value) for value in ticks if low <= value <= high]


def _anatomy(
    found: Values | None, networks: Sequence[Values]
) -> Values | None:
    """Widest of each axis: of the space, or of the networks without one."""
    if found:
        subnets = [found['front'].space.largest]
    else:
        subnets = [Subnet.from_dict(n['subnet']) for n in networks]
    if not subnets:
        return None
    axes = {a: max(max(getattr(s, a)) for s in subnets) for a in BRANCHES}
    embed_dims = max(s.embed_dims for s in subnets)
    return dict(is_whole=bool(found), embed_dims=embed_dims, axes=axes)
