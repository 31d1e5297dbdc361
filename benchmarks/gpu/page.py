"""The page of what was measured on a GPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.record import DONE
from benchmarks.gpu.run import Rows, counts
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
# Of their names with these, which are slower, it is not known.
OTHERS = ('NVL', 'MIG', 'Laptop')
# Ratios of time, unless said otherwise.
LARGEST_OVER_STOCK, ABOVE_SHARE, GATED_OVER_LARGEST = 1.02, 0.05, 1.25
LEAST_MFU, LEAST_SPEED_UP, SPEED_UP_BATCH = 0.45, 3.0, 32
# Shares below it count as one: no uniform subnet has exactly a quarter.
QUARTER = 0.3
INTRO = f"""# On a GPU

Made by `make gpu`, that is `python -m benchmarks.gpu --out DIR` and, with what
it measured, `python -m benchmarks.gpu --publish DIR`: eight minutes, no data,
no network. Parts run one after another in processes of their own; cases of a
table are interleaved in one process, ratios of time are formed inside a round,
median and quartiles. Unless said otherwise ViT-B/16 at 224 px as the recipes
train it (class token, drop path, smooth labels), mmpretrain's with the same
options; batch 256, bfloat16 by autocast, weights in float32. Sliced steps of
stage 2 take eight budgets in turn; their MACs are the mean of these.

A step is forward, backward and AdamW through `train_step`. MFU, the model
FLOPs utilisation, is model FLOPs / (seconds x peak): model FLOPs = 2 x MACs of
the forward x 3 (a backward is two forwards) x images, the MACs those of the
subnet; peak is the card's for dense bfloat16, known of {{cards}}.
MiB: the peak of a step beyond its model and optimizer. Exported networks have
weights and images in half precision; mmpretrain's own is held against the
exported one of all widths, those by hand (the same widths and weights in plain
torch) against the exported ones. Each is compiled in the time that its row
says and timed in rounds with what it is held against: at batch 32 as
`torch.compile` does by itself, at batch 1 with `mode='reduce-overhead'`, which
takes CUDA graphs.

Goals: a step of the largest subnet at most {LARGEST_OVER_STOCK} of the stock
network's; of a subnet with the share m of the MACs at most m +
{ABOVE_SHARE} of the largest's; MFU of the largest at least {LEAST_MFU:.0%}; a
gated step at most {GATED_OVER_LARGEST} of the largest's; exported at a quarter
of the MACs {LEAST_SPEED_UP:.0f} times as fast as all widths from batch
{SPEED_UP_BATCH} on."""
NOTHING = """**Not measured on a GPU** so far, so nothing is claimed of one;
what was measured on a CPU stands in [speed.md](speed.md)."""


# What the figures of a run say, by its commit.
FINDINGS = {
    '87d04943d2': """\
mmpretrain's own network reaches 22% of the peak: its multiply-adds would take
27 ms of the 122 of a step. The largest elastic network is 2% slower, so both
miss the goal of 45%. The other 95 ms seem to be the moving of activations,
whose size goes with the widths and not, as multiply-adds do, with their
product: 27 ms times the share and 95 ms times its root give 100, 80 and 56 ms
for 75, 50 and 25% of the widths, measured are 104, 86 and 74 (the last a third
more, why is not known), and with half of the branches off a step takes half
the time. So the goal of a step as short as its share is met by fewer branches,
not by fewer channels. Exported, networks written by hand of the same widths
are between 5% slower and 8% faster.

A gated step kept four tensors of activations for each norm; since then it
keeps one. A sliced step of stage 2 launched over a thousand small kernels for
the router's choice and made about 150 subnets of which it took one, for which
the backbone waits. Steps of all kinds waited for their backward before they
went on to the optimizer, now for their forward. None of these mends has been
measured on a GPU. At batch 32 and below a narrower network is hardly faster in
eager mode: launches take longer than kernels. Time ran out for compiled ones.
Eight loading processes give fewer images than the steps take, sixteen enough.
""",
}


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """The measurements of every device in Markdown."""
    cards = ', '.join(' '.join(words) for words, _ in PEAKS)
    found = [_report(result) for result in results]
    return '\n\n'.join([INTRO.format(cards=cards), *(found or [NOTHING])])


def peak_of(card: str) -> float | None:
    """FLOPs per second; None for a card that is not in the list."""
    if any(word in card for word in OTHERS):
        return None
    found = (flops for words, flops in PEAKS if all(w in card for w in words))
    return next(found, None)


def _report(result: Mapping[str, Any]) -> str:
    card = result.get('name', 'device unknown')
    # Of a trial no goal is judged, and there is no MFU.
    is_judged = result.get('device') == 'cuda' and not result['quick']
    judged = card if is_judged else ''
    parts = [part.name for part in PARTS if part.name in result['parts']]
    findings = FINDINGS.get(result['commit'], '')
    lines = [f'## {card}', _where(result, card), findings]
    for name in parts:
        part = result['parts'][name]
        lines.append(f'### {name.capitalize()}')
        if (code := part.get('commit', result['commit'])) != result['commit']:
            lines.append(f'Measured at commit {code}.')
        if part['state'] != DONE:
            lines.append(f'This part is {part["state"]}. {part["error"]}')
        if part['rows']:
            lines.append(SECTIONS[name](part['rows'], judged))
    return '\n\n'.join(line.rstrip() for line in lines if line)


def _where(result: Mapping[str, Any], card: str) -> str:
    known = f'torch {result.get("torch")}, {result.get("cores")} cores'
    commit = result['commit'] or 'unknown'
    text = f'{known}, commit {commit}.'
    if result['quick']:
        text = f'The quick form, which tells nothing of speed: {text}'
    elif not peak_of(card):
        text += f' The peak of {card} is not known here, so there is no MFU.'
    left_out = [p.name for p in PARTS if p.name not in result['parts']]
    return text + (f' Not run: {", ".join(left_out)}.' if left_out else '')


def _times(rows: Rows, card: str) -> str:
    """The table of steps and of forwards; columns without a cell are left.

    Args:
        rows: What was measured.
        card: The device's name; empty where no goal is judged.
    """
    peak, lines = peak_of(card), []
    for row in rows:
        mfu = peak and 6 * row['macs'] * row['images_per_s'] / peak
        low, middle, high = row.get('ratio', (None,) * 3)
        lines.append(
            {
                'what': row['case'],
                'MACs': f'{row["macs_ratio"]:.3f}',
                'dtype': row.get('dtype', ''),
                'mode': row.get('mode', ''),
                'batch': str(row['batch_size']),
                'over': row.get('over', ''),
                'time': middle and f'{middle:.3f} ({low:.3f} to {high:.3f})',
                'times as fast': middle and f'{1 / middle:.2f}',
                'ms': f'{row["milliseconds"]:.2f}',
                'images/s': f'{row["images_per_s"]:.0f}',
                'MFU': f'{mfu:.1%}' if mfu and 'dtype' not in row else '',
                'MiB': str(row.get('memory_mib', '')),
                'rounds': str(row['rounds']),
                'compiled in s': str(row.get('compile_seconds', '')),
                'goal': _goals(row, mfu) if card else '',
            }
        )
    header = [name for name in lines[0] if any(li[name] for li in lines)]
    return table(header, [[li[n] or '' for n in header] for li in lines])


def _goals(row: Mapping[str, Any], mfu: float | None) -> str:
    """What a row should reach, and whether it does."""
    over, share, most = row.get('over'), row['macs_ratio'], None
    if over == 'stock' and row['case'] == 'largest':
        most = LARGEST_OVER_STOCK
    elif row['case'] == 'stage 2, gated':
        most = GATED_OVER_LARGEST
    elif over == 'largest':
        most = round(share + ABOVE_SHARE, 3)
    elif over == 'exported, largest' and share < QUARTER:
        large = row['batch_size'] >= SPEED_UP_BATCH
        most = round(1 / LEAST_SPEED_UP, 3) if large else None
    found = {}
    if most:
        found[f'≤ {most}'] = row['ratio'][1] <= most
    if row['case'] == 'largest' and mfu:
        found[f'MFU ≥ {LEAST_MFU:.0%}'] = mfu >= LEAST_MFU
    ends = {True: 'met', False: '**missed**'}
    return ', '.join(f'{text}: {ends[met]}' for text, met in found.items())


def _tests(rows: Rows, card: str) -> str:
    lines = [f'{counts(rows)}.']
    for row in rows:
        measured = [f'{k} {v}' for k, v in row.get('measured', {}).items()]
        if row['outcome'] != 'passed' or measured:
            name = row['test'].partition('::')[2] or row['test']
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
    'stage 1': _times,
    'stage 2': _times,
    'search': _columns(
        'Evaluations per second of a search over random images in memory, and '
        'of the bare forwards of the same subnets. In float32 the recipes '
        'multiply in TF32, which torch calls high.',
        dtype='',
        matmul='',
        images='',
        evaluations='',
        search='.2f',
        bare='.2f',
        ratio='.3f',
    ),
    'exported': _times,
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
        pinned='',
        loader='.0f',
        step='.0f',
        together='.0f',
        keeps_up='',
    ),
    'compiled': _times,
    'snap': _columns(
        'Seconds of tools/snap.py, as it is by default, for 1,000 images in '
        'float32, its data beside; random weights. The goal: all stages in '
        '300.',
        stage='',
        images='',
        seconds='.1f',
        so_far='.1f',
    ),
}
