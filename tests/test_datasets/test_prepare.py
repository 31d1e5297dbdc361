"""Data sets are fetched whole or not at all, from a server that may fail."""

import errno
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from hashlib import md5, sha256
from pathlib import Path
from typing import ClassVar

import pytest
from http_folder import Quiet, serving
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.registry import DATASETS
from tool_runs import ROOT

from eavit_mm.datasets.prepare import fault_of, prepare
from eavit_mm.datasets.published import SETS, Part
from test_datasets import flowers, idx, published

DATA = bytes(range(256)) * 40
SUM = md5(DATA).hexdigest()
JPEG = b'\xff\xd8\xff\xe0'.ljust(100, b'.')  # begins so


class Server(Quiet):
    """Sends rests of files, and stops after some bytes if told so."""

    cut: ClassVar[int | None] = None
    has_ranges: ClassVar[bool] = True
    asked: ClassVar[list[int]] = []

    def do_GET(self) -> None:  # noqa: N802
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data, begin = path.read_bytes(), 0
        if self.has_ranges and 'Range' in self.headers:
            begin = int(self.headers['Range'][6:-1])
        self.asked.append(begin)
        ends = begin and begin >= len(data)
        self.send_response(416 if ends else 206 if begin else 200)
        part = '*' if ends else f'{begin}-{len(data) - 1}'
        if begin:
            self.send_header('Content-Range', f'bytes {part}/{len(data)}')
        self.send_header('Content-Length', str(len(data[begin:])))
        self.end_headers()
        self.wfile.write(data[begin:][: self.cut])
        return None


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[tuple[Path, str]]:
    """The folder that is served, and its address."""
    monkeypatch.setattr(Server, 'asked', [])
    folder = tmp_path / 'site'
    folder.mkdir()
    (folder / 'file.bin').write_bytes(DATA)
    with serving(folder, Server) as url:
        yield folder, url


def names(root: Path) -> set[str]:
    """What lies in a folder, locks aside."""
    found = (str(path.relative_to(root)) for path in root.rglob('*'))
    return {name for name in found if not name.endswith('.lock')}


def tar(path: Path, **files: bytes | str) -> None:
    """Writes an archive of files, and of links where there is a text."""
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                content = b''
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_an_interrupted_download_goes_on(site, tmp_path, monkeypatch):
    root, part = tmp_path / 'data', Part('a/b', f'{site[1]}/file.bin', SUM)
    monkeypatch.setattr(Server, 'cut', 100)
    for size in (100, 200):
        with pytest.raises(ValueError, match=f'after {size} of 10,240 bytes'):
            prepare(part, root)
        assert names(root) == {'a', 'a/.b.partial'}
    monkeypatch.setattr(Server, 'cut', None)
    prepare(part, root)
    assert (root / 'a/b').read_bytes() == DATA
    assert (Server.asked, names(root)) == ([0, 100, 200], {'a', 'a/b'})


@pytest.mark.parametrize('left', [DATA, DATA + b'of another', b'wrong'])
def test_what_an_earlier_call_left(site, tmp_path, left):
    root = tmp_path / 'data'
    part = Part('b', f'{site[1]}/file.bin', sha256(DATA).hexdigest())
    root.mkdir()
    (root / '.b.partial').write_bytes(left)
    if left == b'wrong':
        with pytest.raises(ValueError, match='cut or another file: its sha2'):
            prepare(part, root)
        assert names(root) == set()
    prepare(part, root)
    assert (root / 'b').read_bytes() == DATA
    assert names(root) == {'b'}


def test_a_server_that_knows_no_rests(site, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, 'has_ranges', False)
    (tmp_path / '.b.partial').write_bytes(b'begun')
    prepare(Part('b', f'{site[1]}/file.bin', SUM), tmp_path)
    assert (tmp_path / 'b').read_bytes() == DATA


def test_another_file_is_refused_and_not_kept(site, tmp_path):
    (site[0] / 'file.bin').write_bytes(DATA[:-1] + b'x')
    root = tmp_path / 'data'
    with pytest.raises(ValueError, match=f'md5 is .*; must be {SUM}'):
        prepare(Part('b', f'{site[1]}/file.bin', SUM), root)
    assert names(root) == set()


def test_no_such_file_or_server(site, tmp_path):
    for url, why in (
        (f'{site[1]}/none', 'HTTP Error 404'),
        ('http://127.0.0.1:1/none', 'refused'),
    ):
        with pytest.raises(ValueError, match=rf'{url}: .*{why}.* by hand'):
            prepare(Part('b', url), tmp_path)


@pytest.mark.parametrize('kind', ['tgz', 'zip'])
def test_a_folder_of_an_archive(site, tmp_path, kind):
    path, root = site[0] / f'all.{kind}', tmp_path / 'data'
    files = {'top/x/1.jpg': JPEG, 'top/x/2.jpg': JPEG, 'other': b'3'}
    if kind == 'tgz':
        tar(path, **files)
    else:
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    part = Part('a/set', f'{site[1]}/{path.name}', '', 'top', '**/*.jpg', 2)
    with pytest.raises(ValueError, match='2 files .*; must be at least 3'):
        prepare(part._replace(least=3), root)
    assert names(root) == {'a'}
    prepare(part, root)
    there = {'a', 'a/set', 'a/set/x', 'a/set/x/1.jpg', 'a/set/x/2.jpg'}
    assert names(root) == there
    # The same from a file that was fetched by hand, which stays.
    path.rename(root / path.name)
    prepare(part._replace(place='again'), root)
    assert (root / 'again/x/2.jpg').read_bytes() == JPEG
    assert (root / path.name).is_file()


@pytest.mark.parametrize('name', ['../out.jpg', '/tmp/out.jpg', 'zip', 'link'])
def test_nothing_is_unpacked_outside(site, tmp_path, name):
    path, root = site[0] / 'all.archive', tmp_path / 'data'
    if name == 'zip':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('top/1.jpg', JPEG)
            archive.writestr('../../out.jpg', b'2')
    elif name == 'link':
        tar(path, **{'top/1.jpg': JPEG, 'top/l': '../../..', 'top/l/o': b'2'})
    else:
        tar(path, **{'top/1.jpg': JPEG, name: b'2'})
    part = Part('set', f'{site[1]}/{path.name}', '', 'top', '*.jpg', 1)
    if name == '/tmp/out.jpg':  # loses its slash
        prepare(part, root)
        assert names(root) == {'set', 'set/1.jpg'}
    else:
        with pytest.raises(ValueError, match='cut, broken or unsafe'):
            prepare(part, root)
        assert names(root) == set()
    assert not list(tmp_path.rglob('out.jpg'))


def test_a_cut_archive_without_a_sum_is_refused(site, tmp_path):
    path, root = site[0] / 'all.tgz', tmp_path / 'data'
    tar(path, **{f'top/{i}.jpg': DATA for i in range(9)})
    path.write_bytes(path.read_bytes()[:-30])
    part = Part('set', f'{site[1]}/all.tgz', '', 'top', '*.jpg', 1)
    with pytest.raises(ValueError, match='cut, broken or unsafe'):
        prepare(part, root)
    assert names(root) == set()


@pytest.mark.parametrize('kind', ['encrypted', 'method', 'clash', 'long'])
def test_a_broken_zip_is_refused_and_not_kept(site, tmp_path, kind):
    path, root = site[0] / 'all.zip', tmp_path / 'data'
    name = 'a' * 300 if kind == 'long' else 'a'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr(f'top/{name}', DATA)
        if kind == 'clash':
            archive.writestr('top/a/1.jpg', DATA)
    if kind in ('encrypted', 'method'):
        data = bytearray(path.read_bytes())
        central = data.rindex(b'PK\x01\x02')
        data[central + (8 if kind == 'encrypted' else 10)] ^= 1
        path.write_bytes(data)
    part = Part('set', f'{site[1]}/all.zip', '', 'top', 'a*', 1)
    with pytest.raises(ValueError, match='cut, broken or unsafe'):
        prepare(part, root)
    assert names(root) == set()


def test_a_full_disk_keeps_what_was_fetched(site, tmp_path, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with zipfile.ZipFile(site[0] / 'all.zip', 'w') as archive:
        archive.writestr('top/a', DATA)
    monkeypatch.setattr(zipfile.ZipFile, 'extractall', fill)
    part = Part('set', f'{site[1]}/all.zip', '', 'top', 'a', 1)
    with pytest.raises(OSError, match='No space'):
        prepare(part, tmp_path / 'data')
    assert names(tmp_path / 'data') == {'.set.partial'}


def test_what_another_process_has_just_made_stays(site, tmp_path):
    place = tmp_path / 'set'
    place.mkdir()
    (place / '1.jpg').write_bytes(DATA)
    prepare(Part('set', f'{site[1]}/file.bin', '', 'top', '*', 1), tmp_path)
    assert (Server.asked, (place / '1.jpg').read_bytes()) == ([], DATA)


@pytest.mark.parametrize(
    ('content', 'is_whole'),
    [
        (b'', 0),
        (b'x', 0),
        (b'<html>'.ljust(100), 0),
        (JPEG[:99], 0),
        (JPEG, 1),
        (b'GIF89a'.ljust(100), 1),
    ],
)
def test_files_that_are_no_images(tmp_path, content, is_whole):
    """Some images of Oxford-IIIT Pets are GIF and are called .jpg."""
    for i in range(3):
        (tmp_path / f'{i}.jpg').write_bytes(JPEG)
    part = Part('', '', '', '', '*.jpg', 3)
    assert fault_of(part, tmp_path) == ''
    (tmp_path / '1.jpg').write_bytes(content)
    fault = fault_of(part, tmp_path)
    assert (not fault) == is_whole
    assert is_whole or re.search('1 files are empty or no .*1.jpg', fault)


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
def test_each_file_of_cifar_is_asked_for(tmp_path, name):
    published.cifars(tmp_path)
    (part,) = SETS[name]
    folder = tmp_path / part.place
    lists = dict(cifar10=CIFAR10, cifar100=CIFAR100)[name]
    known = dict(lists.train_list + lists.test_list)
    known[lists.meta['filename']] = lists.meta['md5']
    patterns = part.pattern.split()
    assert dict(one.split(':') for one in patterns) == known
    for file in known:
        (folder / file).write_bytes(DATA)
    first, *_ = known
    words = f'{first}: cut or another file: its md5 is {SUM}; must be '
    assert fault_of(part, tmp_path) == words + known[first]
    part = part._replace(pattern=' '.join(f'{file}:{SUM}' for file in known))
    assert fault_of(part, tmp_path) == ''
    for file in known:
        other = folder / f'{file}.batch'
        (folder / file).rename(other)
        assert fault_of(part, tmp_path) == f'no file {file} in it'
        other.rename(folder / file)


LABELS = {
    'food101': ('Food101', ('train', 'test')),
    'aircraft': ('FGVCAircraft', ('trainval', 'test')),
    'cars': ('StanfordCars', ('train',)),
    'dtd': ('DTD', ('train',)),
    'pets': ('OxfordIIITPet', ('trainval', 'test')),
}


@pytest.mark.parametrize('name', LABELS)
def test_the_labels_that_mmpretrain_reads_are_asked_for(tmp_path, name):
    """Without them a folder of all images is not whole."""
    published.write(tmp_path)
    kind, splits = LABELS[name]
    *_, part = SETS[name]
    part = part._replace(least=1)
    root = tmp_path / part.place.partition('/')[0]
    assert fault_of(part, tmp_path) == ''
    for split in splits:
        options = dict(type=kind, data_root=str(root), split=split)
        labels = Path(DATASETS.build(options).ann_file)
        content = labels.read_bytes()
        labels.write_bytes(b'')
        assert f'such as {labels}' in fault_of(part, tmp_path)
        labels.unlink()
        name = labels.relative_to(tmp_path / part.place)
        assert fault_of(part, tmp_path) == f'no file {name} in it'
        labels.write_bytes(content)


def test_cars_that_mmpretrain_refuses(tmp_path):
    root = tmp_path / 'Stanford_Cars'
    (root / 'cars_train/cars_train').mkdir(parents=True)
    (root / 'cars_train/cars_train/1.jpg').write_bytes(DATA)
    (root / 'devkit').mkdir()
    (root / 'devkit/cars_train_annos.mat').write_bytes(DATA)
    (part,) = SETS['cars']
    assert fault_of(part, tmp_path) == 'no file car_ims/*.jpg in it'


def test_the_tool(site, tmp_path, monkeypatch, call, capsys):
    part = Part('b', f'{site[1]}/file.bin', SUM)
    monkeypatch.setitem(SETS, 'tiny', (part,))
    for options, code, said in (
        (('tiny', '--check'), 1, 'wrong data/b missing; python -m eavit_mm '),
        (('tiny',), 0, 'ok    data/b'),
        (('tiny',), 0, 'ok    data/b'),
        (('cars',), 1, 'ai.stanford.edu/~jkrause/cars are dead'),
        (('all', '--check'), 1, 'ok    data/b'),
    ):
        with pytest.raises(SystemExit) as end:
            call('prepare_data.py', *options)
        assert (end.value.code, said in capsys.readouterr().out) == (code, 1)
    assert Server.asked == [0]  # once
    # Of a call that was killed when the part had its name already.
    data = tmp_path / 'data'
    (data / '.b.unpacked').mkdir()
    (data / '.b.partial').write_bytes(DATA)
    for options, left in (('--check',), 3), ((), 1):
        with pytest.raises(SystemExit):
            call('prepare_data.py', 'tiny', *options)
        assert (len(names(data)), Server.asked) == (left, [0])
    (tmp_path / 'data/b').write_bytes(b'mine')
    with pytest.raises(SystemExit):
        call('prepare_data.py', 'tiny')
    assert 'md5 is' in (said := capsys.readouterr().out)
    assert 'rename or delete it' in said
    assert (tmp_path / 'data/b').read_bytes() == b'mine'
    (tmp_path / 'data/Stanford_Cars').mkdir()
    with pytest.raises(SystemExit):
        call('prepare_data.py', 'cars')
    (line,) = capsys.readouterr().out.splitlines()
    assert 'no file car_ims/*.jpg in it; its links at ' in line
    with pytest.raises(SystemExit, match="NAME='tin'; must be one of"):
        call('prepare_data.py', 'tin')


def test_places_are_where_the_configs_and_the_classes_read(tmp_path):
    published.write(tmp_path)
    flowers.write(tmp_path / 'Flowers102')
    idx.write(tmp_path / 'fashion-mnist', compressed=True)
    configs = (ROOT / 'configs/_base_/datasets').glob('*.py')
    read = ''.join(path.read_text() for path in configs)
    for parts in SETS.values():
        for part in parts:
            assert (tmp_path / part.place).exists()
            folder = part.place.partition('/')[0]
            assert f"data_root='data/{folder}'" in read
            assert len(part.digest) in (0, 32, 64)
            assert bool(part.top) == bool(part.least and part.url)
