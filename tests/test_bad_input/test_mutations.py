"""Wrong inputs of every kind: a clear error each, and no file is lost."""

import gc
import hashlib
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from http_folder import serving

from . import checkpoints, options
from .mutation import SEED, TEST, TRAIN, Mutation
from .workspace import ROOT, make, run

MUTATIONS = {
    mutation.name: mutation
    for module in (options, checkpoints)
    for mutation in module.mutations()
}
# Logs of a run, and the config that it ran with.
LOGS = re.compile(r'work/(config(_test)?\.py|\d{8}_\d{6}(/.*)?)')

REFUSED = r'error: .*http://.*/evil\.pth is refused: it asks for'


@pytest.fixture(scope='module')
def whole(tmp_path_factory: Any) -> Iterator[Path]:
    """A folder in which every command works."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('bad_input') / 'whole'
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        make(folder)
        # mmengine collects garbage all the time; leave the imports out.
        gc.collect()
        gc.freeze()
        yield folder
        gc.unfreeze()


def digests(folder: Path) -> dict[str, str]:
    """Name to hash of every file but locks, which say who works there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes() if path.is_file() else b'folder'
        ).hexdigest()
        for path in folder.rglob('*')
        if path.suffix != '.lock'
    }


def copy(whole: Path, folder: Path, mutation: Mutation) -> Path:
    """A fresh folder, made ready for a mutation's command."""
    shutil.copytree(whole, folder)
    mutation.prepare(folder)
    return folder


@pytest.mark.parametrize('name', MUTATIONS)
def test_a_clear_error_and_nothing_lost(
    whole: Path, tmp_path: Path, name: str
) -> None:
    print(f'seed {SEED}')  # noqa: T201
    mutation = MUTATIONS[name]
    folder = copy(whole, tmp_path / 'spoiled', mutation)
    mutation.spoil(folder / mutation.file)
    before = digests(folder)
    with pytest.raises(SystemExit) as error:
        run(folder, *mutation.command)
    text = str(error.value.code)
    assert text.startswith('error: ')
    assert [word for word in mutation.words if word not in text] == [], text
    after = digests(folder)
    assert {k: after.get(k) for k in before} == before
    new = [k for k in after.keys() - before.keys() if not LOGS.fullmatch(k)]
    assert new == []


def test_without_the_mutation_every_command_works(
    whole: Path, tmp_path: Path
) -> None:
    done = set()
    for mutation in MUTATIONS.values():
        folder = copy(whole, tmp_path / 'right', mutation)
        # The name of the prepared folder's content and of the command.
        content = frozenset(digests(folder).items()), mutation.command
        if content not in done:
            run(folder, *mutation.command)
            done.add(content)
        shutil.rmtree(folder)
    assert len(done) >= 9


SEARCH = ('search_cfg.type=eavit_mm.ParetoSearchLoop', 'search_cfg.metric=x')
# Whatever takes a checkpoint, and whether it is run with a good one too.
BY_URL: dict[str, tuple[tuple[str, ...], bool]] = {
    'test': (('test.py', 'config.py', '{}', '--work-dir', 'work'), True),
    'search': (
        ('search.py', 'config.py', '{}', '--cfg-options', *SEARCH),
        False,
    ),
    'export': (
        ('export.py', 'config.py', '{}', '--budget', '0.9', '--out', 'out'),
        False,
    ),
    'rearrange': (('rearrange.py', 'config.py', '{}', 'out.pth'), False),
    'convert': (('convert.py', '{}', 'out.pth'), False),
    'resume': ((*TRAIN, '--resume', '{}'), True),
    'load_from': ((*TRAIN, '--cfg-options', 'load_from={}'), False),
    'init_cfg': (
        (*TRAIN, '--cfg-options', 'model.backbone.init_cfg.checkpoint={}'),
        True,
    ),
    'whole network': (
        (*TRAIN, '--cfg-options', 'model.init_cfg.type=Pretrained')
        + ('model.init_cfg.checkpoint={}',),
        False,
    ),
}


@pytest.mark.parametrize('entry', BY_URL)
def test_nothing_from_a_url_is_run(
    whole: Path, tmp_path: Path, entry: str
) -> None:
    folder = tmp_path / 'copy'
    shutil.copytree(whole, folder)
    checkpoints.attack('zip', folder / 'evil.pth')
    command, with_a_good_one = BY_URL[entry]
    with serving(folder) as url:
        with pytest.raises(SystemExit, match=REFUSED):
            run(folder, *[a.format(f'{url}/evil.pth') for a in command])
        assert not (folder / checkpoints.TRACE).exists()
        if with_a_good_one:
            run(folder, *[a.format(f'{url}/trained.pth') for a in command])


@pytest.mark.parametrize('kind', ['pickle', 'zip', 'legacy'])
def test_the_attacks_are_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'evil.pth'
    checkpoints.attack(kind, path)
    if kind == 'pickle':
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert Path(checkpoints.TRACE).exists()


def test_the_command_line_says_one_line(whole: Path, tmp_path: Path) -> None:
    mutation = MUTATIONS['model.samplers=3']
    folder = copy(whole, tmp_path / 'spoiled', mutation)
    mutation.spoil(folder / mutation.file)
    tool, *args = mutation.command
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / tool), *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('error: ')
    assert all(word in last for word in mutation.words)


OWN = 'is the file to read and to write'
SOME = (*TEST, '--budgets', '0.5', '--out')


@pytest.mark.parametrize(
    ('command', 'words'),
    [
        (('convert.py', 'timm.pth', './timm.pth'), OWN),
        (('convert.py', 'timm.pth', 'data'), 'data'),
        (('rearrange.py', 'config.py', 'trained.pth', 'trained.pth'), OWN),
        (('rearrange.py', 'config.py', 'trained.pth', 'config.py'), OWN),
        (('latency.py', 'build', 'config.py', './config.py'), OWN),
        ((*SOME, 'trained.pth'), OWN),
        ((*SOME, 'data/../config.py'), OWN),
        ((*SOME, 'res.png'), 'such as .json'),
        ((*SOME, 'res.PNG'), 'such as .json'),
        ((*TEST, '--subnet', 'subnet.json', '--out', 'subnet.json'), OWN),
        ((*TEST, '--subnet', 'subnet.png', '--out', 'subnet.json'), OWN),
        ((*TEST, '--subnet', 'work/subnets.json'), OWN),
        ((*SOME, 't', '--latency-table', 't'), OWN),
    ],
    ids=str,
)
def test_no_result_goes_where_it_does_not_belong(
    whole: Path, tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    """Over what is read, above all."""
    folder = tmp_path / 'copy'
    shutil.copytree(whole, folder)
    for name in ('subnet.png', 'work/subnets.json'):
        shutil.copy(folder / 'subnet.json', folder / name)
    before = digests(folder)
    with pytest.raises(SystemExit, match=f'error: .*{words}'):
        run(folder, *command)
    assert digests(folder) == before
