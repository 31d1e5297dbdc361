"""Which code measured something."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = 'docs/benchmark'


def commit() -> str:
    """The commit, marked if its code was changed; '' outside of git."""
    name = _git('describe', '--always', '--abbrev=10')
    # Results that were just written are no change of the code.
    changed = _git('status', '--porcelain', '-uno', '--', f':!{RESULTS}')
    return f'{name}-dirty' if changed else name


def _git(*args: str) -> str:
    done = subprocess.run(
        ['git', *args], cwd=ROOT, text=True, capture_output=True, check=False
    )
    return done.stdout.strip()
