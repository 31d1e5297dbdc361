"""What somebody installed by hand cannot help a test to pass."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READS = (
    'open({path!r})',
    'import os; os.listdir({path!r})',
    'import os; os.scandir({path!r})',
)


@pytest.mark.parametrize('read', READS)
@pytest.mark.parametrize(
    'path',
    [
        '/usr/share/datasets/any',
        str(ROOT / 'data'),
        str(Path.home() / 'scikit_learn_data'),
    ],
)
def test_data_installed_by_hand_is_out_of_reach(read: str, path: str) -> None:
    with pytest.raises(RuntimeError, match='a fresh machine does not have'):
        exec(read.format(path=path))


def test_no_link_leads_there(tmp_path: Path) -> None:
    link = tmp_path / 'link'
    link.symlink_to('/usr/share/datasets')
    with pytest.raises(RuntimeError, match='reads /usr/share/datasets/any'):
        (link / 'any').read_bytes()


def test_it_is_out_of_reach_of_processes_too() -> None:
    code = READS[0].format(path='/usr/share/datasets/any')
    result = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'a fresh machine does not have' in result.stderr
