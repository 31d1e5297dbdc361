"""The page of what was measured on a GPU."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.record import DONE
from benchmarks.gpu.run import Rows
from benchmarks.pages import table

# Dense bfloat16, FLOPs per second, by NVIDIA's data sheets: the first whose
# words are all in the card's name.
PEAKS = (
    (('H100', 'PCIe'), 756e12),
    (('H100',), 989e12),
    (('H200',), 989e12),
    (('A100',), 312e12),
    (('L40S',), 362e12),
    (('4090',), 165e12),
)
# Ratios of time, unless said otherwise.
LARGEST_OVER_STOCK, ABOVE_SHARE, GATED_OVER_LARGEST = 1.02, 0.05, 1.25
LEAST_MFU, LEAST_SPEED_UP, SPEED_UP_BATCH = 0.45, 3.0, 32
INTRO = f"""# On a GPU

Made by `make gpu`, that is `python -m benchmarks.gpu --out DIR` and, with what
it measured, `python -m benchmarks.gpu --publish DIR`: eight minutes, no data,
no network. Parts run one after another in processes of their own; cases of a
table are interleaved in one process, ratios of time are formed inside a round,
median and quartiles. Unless said otherwise ViT-B/16 at 224 px, batch 256,
bfloat16 by autocast, weights in float32.

A step is forward, backward and AdamW through `train_step`. MFU, the model
FLOPs utilisation, is model FLOPs / (seconds x peak): model FLOPs = 2 x MACs of
the forward x 3 (a backward is two forwards) x images, the MACs those of the
subnet; peak is the card's for dense bfloat16, known of {{cards}}.

Goals: a step of the largest subnet at most {LARGEST_OVER_STOCK} of the stock
network's; of a subnet with the share m of the MACs at most m +
{ABOVE_SHARE} of the largest's; MFU of the largest at least {LEAST_MFU:.0%}; a
gated step at most {GATED_OVER_LARGEST} of the largest's; exported at a quarter
of the MACs {LEAST_SPEED_UP:.0f} times as fast as all widths from batch
{SPEED_UP_BATCH} on."""
NOTHING = """**Not measured on a GPU** so far, so nothing is claimed of one;
what was measured on a CPU stands in [speed.md](speed.md)."""


class Goal(NamedTuple):
    """Whether a number is as it should be, and the text of the bound."""

    is_met: bool
    text: str

    def __str__(self) -> str:
        return f'{self.text}: {"met" if self.is_met else "**missed**"}'


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The measurements of every device in Markdown."""
    cards = ', '.join(' '.join(words) for words, _ in PEAKS)
    found = [_report(result) for result in results]
    return '\n\n'.join([INTRO.format(cards=cards), *(found or [NOTHING])])


def peak_of(card: str) -> float | None:
    """FLOPs per second; None for a card that is not in the list."""
    found = (flops for words, flops in PEAKS if all(w in card for w in words))
    return next(found, None)


def _report(result: Mapping[str, Any]) -> str:
    card = result.get('name', 'device unknown')
    parts = [part.name for part in PARTS if part.name in result['parts']]
    lines = [f'## {card}', _where(result, card)]
    for name in parts:
        part = result['parts'][name]
        lines.append(f'### {name.capitalize()}')
        if part['state'] != DONE:
            lines.append(f'This part is {part["state"]}. {part["error"]}')
        if part['rows']:
            lines.append(SECTIONS[name](part['rows'], card))
    return '\n\n'.join(line.rstrip() for line in lines)


def _where(result: Mapping[str, Any], card: str) -> str:
    known = f'torch {result.get("torch")}, {result.get("cores")} cores'
    commit = result['commit'] or 'unknown'
    text = f'{known}, commit {commit}.'
    if result['quick']:
        text = f'The quick form, which tells nothing of speed: {text}'
    if not peak_of(card):
        text += f' The peak of {card} is not known here, so there is no MFU.'
    left_out = [p.name for p in PARTS if p.name not in result['parts']]
    return text + (f' Not run: {", ".join(left_out)}.' if left_out else '')


def _ratio(row: Mapping[str, Any]) -> list[str]:
    """The cells of a comparison: over what, and how much."""
    if 'ratio' not in row:
        return ['', '']
    low, middle, high = row['ratio']
    return [row['over'], f'{middle:.3f} ({low:.3f} to {high:.3f})']


def _goals_of_step(row: Mapping[str, Any], mfu: float | None) -> list[Goal]:
    found, share = [], row['macs_ratio']
    if 'ratio' in row:
        bound = None
        if row['over'] == 'stock' and row['case'] == 'largest':
            bound = LARGEST_OVER_STOCK
        elif row['case'] == 'stage 2, gated':
            bound = GATED_OVER_LARGEST
        elif row['over'] == 'largest':
            bound = round(share + ABOVE_SHARE, 3)
        if bound:
            found.append(Goal(row['ratio'][1] <= bound, f'≤ {bound}'))
    if row['case'] == 'largest' and mfu:
        found.append(Goal(mfu >= LEAST_MFU, f'MFU ≥ {LEAST_MFU:.0%}'))
    return found


def _steps(rows: Rows, card: str) -> str:
    header = ['step of', 'MACs', 'over', 'time', 'ms', 'images/s', 'MFU']
    header += ['memory, MiB', 'batch', 'rounds', 'goal']
    peak, cells = peak_of(card), []
    for row in rows:
        mfu = None
        if peak:
            mfu = 6 * row['macs'] * row['images_per_s'] / peak
        cells.append(
            [
                row['case'],
                f'{row["macs_ratio"]:.3f}',
                *_ratio(row),
                f'{row["milliseconds"]:.1f}',
                f'{row["images_per_s"]:.0f}',
                f'{mfu:.1%}' if mfu else '',
                str(row.get('memory_mib', '')),
                str(row['batch_size']),
                str(row['rounds']),
                ', '.join(map(str, _goals_of_step(row, mfu))),
            ]
        )
    text = 'Memory is the peak of a step beyond its model and optimizer.'
    return f'{text}\n\n{table(header, cells)}'


def _exported(rows: Rows, card: str) -> str:
    header = ['forward of', 'MACs', 'dtype', 'batch', 'over', 'time']
    header += ['times as fast', 'ms', 'images/s', 'goal']
    cells = []
    for row in rows:
        speed_up, goal = '', ''
        if row.get('over', '').endswith('largest'):
            faster = 1 / row['ratio'][1]
            speed_up = f'{faster:.2f}'
            is_bound = row['macs_ratio'] < 0.3
            if is_bound and row['batch_size'] >= SPEED_UP_BATCH:
                bound = f'≥ {LEAST_SPEED_UP}'
                goal = str(Goal(faster >= LEAST_SPEED_UP, bound))
        cells.append(
            [
                row['case'],
                f'{row["macs_ratio"]:.3f}',
                row['dtype'],
                str(row['batch_size']),
                *_ratio(row),
                speed_up,
                f'{row["milliseconds"]:.2f}',
                f'{row["images_per_s"]:.0f}',
                goal,
            ]
        )
    text = (
        'Weights and images in half precision. Exported networks against '
        "mmpretrain's with all widths; those by hand (the same widths and "
        'weights in plain torch) against the exported ones.'
    )
    seconds = {row.get('compile_seconds') for row in rows} - {None}
    if seconds:
        text += f' Compiling took {", ".join(map(str, seconds))} s.'
    return f'{text}\n\n{table(header, cells)}'


def _tests(rows: Rows, card: str) -> str:
    counts = Counter(row['outcome'] for row in rows)
    lines = [', '.join(f'{n} {name}' for name, n in counts.items()) + '.']
    for row in rows:
        measured = [f'{k} {v}' for k, v in row.get('measured', {}).items()]
        if row['outcome'] != 'passed' or measured:
            name = row['test'].partition('::')[2]
            words = [row['outcome'], row.get('error', ''), *measured]
            lines.append(f'- `{name}`: {", ".join(filter(None, words))}')
    return '\n'.join([lines[0], '', *lines[1:]]).rstrip()


def _columns(text: str, **columns: str) -> Callable[[Rows, str], str]:
    """A table of these fields of the rows, each by its format."""

    def section(rows: Rows, card: str) -> str:
        header = [name.replace('_', ' ') for name in columns]
        cells = [
            [format(row[name], spec) for name, spec in columns.items()]
            for row in rows
        ]
        return f'{text}\n\n{table(header, cells)}'

    return section


SECTIONS: dict[str, Callable[[Rows, str], str]] = {
    'tests': _tests,
    'stage 1': _steps,
    'stage 2': _steps,
    'exported': _exported,
    'compiled': _exported,
    'search': _columns(
        'Evaluations per second of a search over random images in memory, and '
        'of the bare forwards of the same subnets.',
        dtype='',
        images='',
        evaluations='',
        search='.2f',
        bare='.2f',
        ratio='.3f',
    ),
    'latency': _columns(
        'A table built block by block, then held against subnets that it did '
        'not see: [latency.md](latency.md) explains the columns.',
        network='',
        batch_size='',
        dtype='',
        subnets='',
        error='.1%',
        bias='+.1%',
        worst='.1%',
        kendall_tau='.3f',
        drift='+.1%',
        own_error='.1%',
    ),
    'loading': _columns(
        "Images per second of the recipe's pipeline from JPEG files of 500 x "
        '375, of steps on a batch in memory, and of steps on what the loader '
        'gives. Where it does not keep up, more workers are what helps, as '
        'far as there are cores.',
        workers='',
        loader='.0f',
        step='.0f',
        together='.0f',
        keeps_up='',
    ),
}
