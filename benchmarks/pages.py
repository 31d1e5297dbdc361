"""What the pages in docs/benchmark have in common."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eavit_mm.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = 'docs/benchmark'
FOLDER = ROOT / RESULTS


def commit() -> str:
    """The commit of this code, marked if changed; '' outside of git."""
    name = _git('describe', '--always', '--abbrev=10')
    # Results that were just written are no change of the code.
    changed = _git('status', '--porcelain', '-uno', '--', f':!{RESULTS}')
    return f'{name}-dirty' if changed else name


def _git(*args: str) -> str:
    try:
        done = subprocess.run(
            ['git', *args],
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:  # no git here
        return ''
    return done.stdout.strip()


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds; 0 for one seed."""
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(spread)


def spread_text(values: Sequence[float], digits: int = 2) -> str:
    """Mean and spread as a cell of a table; one value has no spread."""
    mean, spread = mean_and_spread(values)
    known = len(values) > 1
    return f'{mean:.{digits}f}' + known * f' ± {spread:.{digits}f}'


def quartiles(ratios: Any) -> list[float]:
    """Lower quartile, median and upper quartile."""
    return [float(x) for x in np.quantile(ratios, [0.25, 0.5, 0.75])]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, all columns but the first to the right."""
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def commits(records: Sequence[dict[str, Any]]) -> str:
    """The commits that measured the records, each once."""
    return ', '.join(sorted({record['commit'] for record in records}))


def measurements(folder: Path, name: str) -> list[dict[str, Any]]:
    """What was measured on each device: the files name_DEVICE.json."""
    found = sorted(folder.glob(f'{name}_*.json'))
    return [json.loads(path.read_text()) for path in found]


def publish(text: str, path: Path) -> Path:
    """Writes a page and prints it."""
    text = f'{text.rstrip()}\n'
    write_atomically(text.encode(), path)
    print(text)
    return path
