"""What several tests begin with: made once."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from .forked_tools import Done, run
from .searches import TRAINING, search
from .toys import build


@pytest.fixture(scope='session')
def whole_toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('toy_run')
    build(
        folder, custom_hooks=[dict(type='eavit_mm.SupernetMetaHook')]
    ).train()
    return folder


@pytest.fixture
def toy_run(whole_toy_run: Path, tmp_path: Path) -> Path:
    """The folder of a toy run, to change at will."""
    return shutil.copytree(whole_toy_run, tmp_path / 'trained')


@pytest.fixture(scope='session')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a supernet that tells some digits apart."""
    folder = tmp_path_factory.mktemp('trained')
    done = run('train.py', *TRAINING, '--work-dir', folder)
    assert done.status == 0, done.text
    return folder / 'epoch_2.pth'


@pytest.fixture(scope='session')
def find(trained: Path) -> Callable[..., Done]:
    """Searches into a folder."""
    return partial(search, trained)


@pytest.fixture(scope='session')
def searched(
    find: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a search that nothing interrupted."""
    folder = tmp_path_factory.mktemp('searched')
    done = find(folder)
    assert done.status == 0, done.text
    return folder
