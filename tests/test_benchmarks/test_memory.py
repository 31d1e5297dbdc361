"""What a process holds, as seen from outside, and how it is noted inside."""

from pathlib import Path

import pytest
import torch

from benchmarks import memory

# Writes its notes, as the preprocessor does, in its folder.
NOTES = """
import sys, time
from pathlib import Path
Path(sys.argv[1], 'notes.txt').write_text('1\\n2\\n')
"""


def test_a_peak_that_is_over_before_the_end(tmp_path: Path) -> None:
    code = f"""{NOTES}
some = bytearray(b'1') * 80_000_000
time.sleep(0.3)
del some
"""
    peak, notes = memory.watch(['-c', code, str(tmp_path)], tmp_path)
    assert 80e6 < peak < 140e6
    assert notes == [1, 2]


def test_a_process_without_a_new_peak_is_ended(tmp_path: Path) -> None:
    code = f'{NOTES}\nwhile True: pass'
    command = ['-c', code, str(tmp_path)]
    assert memory.watch(command, tmp_path, patience=0.2)[1] == [1, 2]


def test_a_process_that_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='ZeroDivisionError'):
        memory.watch(['-c', '1 / 0'], tmp_path)


def test_each_batch_is_noted(tmp_path: Path) -> None:
    file = tmp_path / 'notes.txt'
    watched = memory.WatchedPreprocessor(str(file), mean=[1.0], std=[1.0])
    kept = []
    for _ in range(2):
        watched({'inputs': torch.zeros(2, 1, 4, 4)})
        kept.append(torch.ones(20_000_000))
    watched({'inputs': torch.zeros(2, 1, 4, 4)})
    first, second, third = map(int, file.read_text().split())
    assert second - first > 70e6
    assert third - second > 70e6
