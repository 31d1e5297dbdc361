"""Which code measured something."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The commit, marked if files differ from it; '' outside of git."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=10']
    done = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, check=False
    )
    return done.stdout.strip()
