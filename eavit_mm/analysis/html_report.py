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
_MARGIN = 0.06  # of the range of a metric, above and below its points
Content = TypeVar('Content')
Values = dict[str, Any]


def write_page(folder: Path) -> Path:
    """Writes ``report.html`` into the work directory of an adaptation.

    It says what the files there say: nothing is measured, and what is missing
    or broken is left out. Its paths begin in that directory.
    """
    front = _read(_front, folder / 'search' / 'pareto.json')
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
        by=_BY,
        data=_read(_data, folder / 'stages.json'),
        found=_of_front(front) if front else None,
        charts=list(_charts(folder, front, tables)),
        tables=tables,
        largest=_largest(networks),
        anatomy=_anatomy(front, networks),
        files=[name for name in _FILES if (folder / name).exists()],
    )
    write_atomically(text.encode(), folder / PAGE)
    return folder / PAGE


def _read(
    build: Callable[..., Content], path: Path, *more: Any
) -> Content | None:
    """What is made of a file; None if it is missing, or broken in any way."""
    try:
        return build(path, *more)
    except (OSError, LookupError, ValueError, TypeError, AttributeError):
        return None


def _front(path: Path) -> ParetoFront:
    """A front, of the space that it names."""
    values = read_json(path, dict)
    return ParetoFront.from_dict(values, SearchSpace(**values['space']))


def _data(path: Path) -> Values:
    """Samples of each data set, and the names of the classes."""
    samples: dict[str, int] = {}
    classes: list[str] = []
    for note in read_json(path, dict).values():
        for name, data in note['source']['data'].items():
            samples[name] = data['samples']
            classes = data['classes'] or classes
    return dict(samples=samples, classes=classes)


def _table(path: Path, folder: Path) -> Values:
    """A table of networks that tools/test.py wrote, and their exports."""
    table = read_json(path, dict)
    metric, samples = table['metric'], table['samples']
    checkpoint = '/'.join(Path(table['checkpoint']).parts[-2:])
    networks = []
    for row in table['subnets']:
        place = f'{EXPORTS[path.stem]}/{row["budget"]}'
        report = _read(_report, folder / place / 'report.json', row) or {}
        network = dict(row, place=place, report=report)
        network |= _texts(row, metric, samples)
        networks.append(network)
    return dict(
        kind=path.stem,
        config=Path(table['config']).name,
        checkpoint=checkpoint,
        metric=metric,
        samples=samples,
        by=', '.join(
            dict.fromkeys(_BY.get(row['by'], row['by']) for row in networks)
        ),
        networks=networks,
    )


def _report(path: Path, row: Mapping[str, Any]) -> Values:
    """The certificate of an export; it must be of the network in the table."""
    report = read_json(path, dict)
    return report if report['subnet'] == row['subnet'] else {}


def _texts(row: Mapping[str, Any], metric: str, samples: int | None) -> Values:
    """Costs and metric of a network, in words with units."""
    texts = {}
    for cost in ('macs', 'params', 'latency'):
        if row.get(cost) is not None:
            scale, name = cost_unit(cost, row[cost])
            name = name.removesuffix(' per image')
            name = dict(params='Mparams', latency='ms').get(cost, name)
            texts[cost] = f'{row[cost] / scale:.3f} {name}'
    value = row['metrics'].get(metric)
    quality = 'not a number'
    if value is not None:
        error = standard_error(metric, value, samples)
        spread = f' ± {error:.2f}' if error else ''
        quality = f'{value:.2f}{spread}{_unit(metric)}'
    return dict(texts=texts, value=value, quality=quality)


def _unit(metric: str) -> str:
    return ' %' if metric.startswith(_PER_CENT) else ''


def _of_front(front: ParetoFront) -> Values:
    """What the page says of a front in words, and its members."""
    members = [_of_member(member, front) for member in front.members]
    return dict(
        metric=front.metric,
        samples=front.samples,
        evaluations=front.evaluations,
        hypervolume=front.hypervolume,
        size=front.space.size(),
        members=members,
    )


def _of_member(member: Member, front: ParetoFront) -> Values:
    values = member.to_dict()
    return values | _texts(values, front.metric, front.samples)


def _largest(networks: Sequence[Values]) -> Values | None:
    """Costs of the largest network, as an export's report has them."""
    for report in (network['report'] for network in networks):
        if report:
            macs, params = (
                report['macs_of_largest'],
                report['params_of_largest'],
            )
            costs = dict(macs=macs, params=params, metrics={})
            latency = report['latency_ms']
            return _texts(costs, '', None)['texts'] | dict(latency=latency)
    return None


def _charts(
    folder: Path, front: ParetoFront | None, tables: Sequence[Values]
) -> Iterator[Values]:
    """The metric over each cost that the search was about."""
    series: list[Values] = []
    cloud: list[Values] = []
    if front:
        path, held = folder / 'search' / 'evaluations.jsonl', 'search'
        if front.samples:
            held += f', {front.samples:,} held-out samples'
        _, members = _read(read_evaluations, path, front.space) or ({}, [])
        cloud = [_of_member(member, front) for member in members]
        ladder = {str(s.to_dict()) for s in front.space.uniform_ladder}
        uniform = [row for row in cloud if str(row['subnet']) in ladder]
        found = _of_front(front)['members']
        for name, rows in (('uniform', uniform), ('front', found)):
            text = dict(uniform='uniform widths', front='front')[name]
            series.append(dict(kind=name, name=f'{text} ({held})', rows=rows))
    for table in tables:
        title = dict(budgets='answers to budgets', presets='presets')
        name = f'{title[table["kind"]]}, by {table["by"]} (test, '
        name += f'{table["samples"]:,} samples)'
        rows = table['networks']
        series.append(dict(kind=table['kind'], name=name, rows=rows))
    metric = front.metric if front else ''
    metric = metric or next((table['metric'] for table in tables), '')
    for cost in front.costs if front else ['macs']:
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
    front: ParetoFront | None, networks: Sequence[Values]
) -> Values | None:
    """Widest of each axis: of the space, or of the networks without one."""
    if front:
        subnets = [front.space.largest]
    else:
        subnets = [Subnet.from_dict(n['subnet']) for n in networks]
    if not subnets:
        return None
    axes = {a: max(max(getattr(s, a)) for s in subnets) for a in BRANCHES}
    embed_dims = max(s.embed_dims for s in subnets)
    return dict(is_whole=bool(front), embed_dims=embed_dims, axes=axes)
