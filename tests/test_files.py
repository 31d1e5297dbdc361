"""Files are written whole or not at all."""

import errno
import fcntl
import json
import os
import pickle
import signal
import time
from pathlib import Path

import pytest
import torch

from eavit_mm.engine.checkpoint import save_atomically
from eavit_mm.files import (
    folder_atomically,
    lock,
    read_json,
    remove_leftovers,
    write_atomically,
    write_json,
)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_saving_makes_folders_and_leaves_no_other_file(tmp_path):
    path = tmp_path / 'a' / 'b' / 'model.pth'
    save_atomically(dict(x=torch.ones(2)), path)
    assert torch.equal(torch.load(path)['x'], torch.ones(2))
    write_json([1, 2], path.with_suffix('.json'))
    assert json.loads(path.with_suffix('.json').read_text()) == [1, 2]
    assert files(path.parent) == ['model.json', 'model.pth']


def test_saving_replaces_a_file_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / 'model.pth'
    save_atomically(1, path)
    seen = []
    replace = Path.replace

    def watched(self, target):
        # Until the last moment, the old file is whole, and so is the new.
        seen.append((torch.load(target), torch.load(self)))
        return replace(self, target)

    monkeypatch.setattr(Path, 'replace', watched)
    save_atomically(2, path)
    assert seen == [(1, 2)]
    assert torch.load(path) == 2
    assert files(tmp_path) == ['model.pth']


def test_what_is_no_json_is_named(tmp_path):
    path = tmp_path / 'values.json'
    write_json(dict(a=[1, 2], b='c'), path)
    whole = path.read_bytes()
    cuts = [whole[:i] for i in range(len(whole) - 1)]
    for wrong in (*cuts, b'\xff\xfe\x00', b'[' * 100_000):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=f'{path}: no JSON: '):
            read_json(path, dict)
    for folder, name in ((tmp_path, str(tmp_path)), ('', r'\.')):
        with pytest.raises(FileNotFoundError, match=f'^{name} is a folder; '):
            read_json(folder, dict)


@pytest.mark.parametrize('save', [save_atomically, write_json])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, save):
    path = tmp_path / 'file'
    save(1, path)
    before = path.read_bytes()
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save(dict(x=1, y=lambda: 0), path)
    assert path.read_bytes() == before
    assert files(tmp_path) == ['file']


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'model.pth'
    write_atomically(b'old', path)

    def fail(number):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_atomically(b'new', path)
    assert path.read_bytes() == b'old'
    assert files(tmp_path) == ['model.pth']


@pytest.mark.parametrize('before', [None, [], ['old']])
def test_a_folder_appears_when_it_is_full(tmp_path, before):
    path = tmp_path / 'a' / 'folder'
    if before is not None:
        path.mkdir(parents=True)
        for name in before:
            (path / name).write_text('old')
    with folder_atomically(path) as partial:
        (partial / 'new').write_text('new')
        assert partial.parent == path.parent
        assert path.exists() == (before is not None)
        if before is not None:
            assert files(path) == before
    assert files(path) == ['new']
    assert files(path.parent) == ['folder']


def test_a_folder_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / 'folder'
    path.mkdir()
    (path / 'old').write_text('old')

    def fill():
        with folder_atomically(path) as partial:
            (partial / 'new').write_text('new')
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    assert files(path) == ['old']
    assert files(tmp_path) == ['folder']


def test_leftovers_of_one_folder_are_removed(tmp_path):
    token = '0123abcd'
    names = [f'.a[1].{token}.partial', f'.a1.{token}.partial']
    names += [f'.a[1].b.{token}.{ending}' for ending in ('old', 'partial')]
    names += [f'.a[1].{token}.old', 'a[1]']
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / names[-2] / 'file').write_text('old')
    remove_leftovers(tmp_path / 'a[1]')
    assert files(tmp_path) == sorted(names[1:])
    # As if it had been killed between the two renames.
    (tmp_path / 'a[1]').rmdir()
    remove_leftovers(tmp_path / 'a[1]')
    assert files(tmp_path) == sorted([*names[1:4], 'a[1]'])
    assert files(tmp_path / 'a[1]') == ['file']


def holding(path):
    """A process that is killed while it holds a lock, and its worker."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        with lock(path):
            if os.fork():
                os.write(write, b'held')
            time.sleep(10)
            os._exit(0)
    os.close(write)
    assert os.read(read, 4) == b'held'
    return pid


@pytest.mark.parametrize(
    'error', [None, errno.EPERM, errno.ENOLCK, errno.ENOTSUP, errno.EBADF]
)
def test_a_lock_falls_with_its_process(tmp_path, monkeypatch, error):
    """Where there is no flock, too."""
    if error:

        def fail(*args):
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(fcntl, 'flock', fail)
    path = tmp_path / 'a' / 'result'
    with lock(path), pytest.raises(ValueError, match=f'{os.getpid()} of'):
        lock(path).__enter__()
    pid = holding(path)
    with pytest.raises(ValueError, match=f'^{path}: process {pid} of .*write'):
        lock(path).__enter__()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # still a zombie
    with lock(path):
        pass
    os.waitpid(pid, 0)
    place = path.with_name('.result.lock')
    place.write_text('process 1 of elsewhere, begun at 2')
    if error:
        with pytest.raises(ValueError, match=f'ended, delete {place}'):
            lock(path).__enter__()
    place.write_text('half')
    with lock(path):
        assert not path.exists()
