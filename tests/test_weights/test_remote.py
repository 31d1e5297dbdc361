"""Weights that lie elsewhere: fetched, and read as files here are."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from http_folder import serving
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from eavit_mm.weights import read
from eavit_mm.weights.pretrained import load_pretrained

from .foreign import Attack


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('served')


@pytest.fixture(scope='module')
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address


def loads(name: str) -> Any:
    return CheckpointLoader.load_checkpoint(name)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('place', ['{}/', 'openmmlab://', 'mmcls://'])
def test_nothing_in_it_is_run(
    folder: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    legacy: bool,
) -> None:
    for name in ('evil.pth', 'evil-20241126.pth'):
        trace = folder / 'trace'
        value = dict(state_dict={}, meta=Attack(trace))
        torch.save(
            value, folder / name, _use_new_zipfile_serialization=not legacy
        )
        for zoo in ('openmmlab', 'mmcls'):
            listed = {name: f'{url}/{name}'}
            monkeypatch.setitem(read._LISTS, zoo, lambda known=listed: known)
        for load in (loads, read.read_weights, read.read_torch_file):
            with pytest.raises(ValueError, match=r'is refused: it asks for '):
                load(place.format(url) + name)
        with pytest.raises(ValueError, match=r'is refused: it asks for '):
            load_pretrained(f'eavit_mm://{place.format(url)}{name}')
        assert not trace.exists()


def test_it_is_read_as_a_file_here(folder: Path, url: str) -> None:
    state = {'a.weight': torch.rand(3)}
    save_file(state, folder / 'a.safetensors')
    torch.save(state, folder / 'a.pth')
    for name in ('a.safetensors?download=true', 'a.pth'):
        for place in (url, url.replace('http', 'HTTP')):
            found = read.read_weights(f'{place}/{name}')
            assert torch.equal(found['a.weight'], state['a.weight'])
    # A file of the same name may be another, on another day or elsewhere.
    for number, place in enumerate(('', 'other/', '')):
        path = folder / place / 'vit-20241126.pth'
        path.parent.mkdir(exist_ok=True)
        torch.save({'a.weight': torch.full((3,), float(number))}, path)
        found = read.read_weights(f'{url}/{place}{path.name}')
        assert (found['a.weight'] == number).all()


def test_the_sum_in_a_name_is_compared(folder: Path, url: str) -> None:
    torch.save({'a.weight': torch.ones(3)}, folder / 'a.pth')
    digest = hashlib.sha256((folder / 'a.pth').read_bytes()).hexdigest()
    names = [f'vit_20220330-{sum_}.pth' for sum_ in (digest[:8], '0123abcd')]
    for name in names:
        shutil.copy(folder / 'a.pth', folder / name)
    if re.search('[a-f]', digest[:8]):
        assert read.read_weights(f'{url}/{names[0]}')
    with pytest.raises(
        FileNotFoundError, match=f'with {digest[:8]}, its name says 0123abcd'
    ):
        read.read_weights(f'{url}/{names[1]}')
    assert read.read_weights(folder / names[1])  # who has it may use it


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('{}/none.pth', '404'),
        ('{}/', 'is broken or no checkpoint'),
        ('{}/a?b=http://c', '404'),
        ('http://127.0.0.1:1/a.pth', 'URLError'),
        ('s3://bucket/a.pth', 'install petrel_client'),
        ('cluster:petrel://bucket/a.pth', 'install petrel_client'),
        ('openmmlab://none', "KeyError: 'none'"),
        ('pavi://none', "KeyError: 'pavi'"),
        ('file:///etc/passwd', "KeyError: 'file'"),
    ],
)
def test_what_cannot_be_fetched_is_named(
    url: str, name: str, words: str
) -> None:
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        loads(name.format(url))
    text = str(error.value)
    assert text.startswith(name.format(url))
    assert '\n' not in text
    assert words in text
