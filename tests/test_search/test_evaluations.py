import json
from pathlib import Path

import numpy as np
import pytest

from eavit_mm.search.evaluations import Evaluations, read_evaluations
from eavit_mm.space import SearchSpace

from .toys import SPACES, Search

SPACE = SPACES['free']
HEADER = dict(space='free', seed=3, limits=[0.25, None], metric='top1 é')


def subnets(number, seed=0):
    ladder = list(SPACE.uniform_ladder)
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(ladder)
    while len(found) < number:
        found[SPACE.sample(rng)] = None
    return list(found)[:number]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'work' / 'evaluations.jsonl'


@pytest.fixture
def written(path):
    """A file of twelve evaluations."""
    search = Search(SPACE, path=path, header=HEADER)
    search.evaluations.start()
    search.evaluations(subnets(12))
    return path


def resumed(path, header=HEADER):
    search = Search(SPACE, path=path, header=header)
    return search, search.evaluations.resume(SPACE)


def test_every_subnet_is_measured_once():
    search = Search(SPACE)
    some = subnets(9)
    first = search.evaluations([*some[:5], some[0], some[0]])
    assert [m.subnet for m in first] == [*some[:5], some[0], some[0]]
    assert search.measured == some[:5]
    again = search.evaluations([some[7], some[2], some[7]])
    assert [m.subnet for m in again] == [some[7], some[2], some[7]]
    assert search.measured == [*some[:5], some[7]]
    assert list(search.evaluations.used) == [*some[:5], some[7]]
    assert all(m == search.member(m.subnet) for m in [*first, *again])
    assert search.evaluations([]) == []


@pytest.mark.parametrize('chunk', [1, 4, 100])
def test_results_are_written_chunk_by_chunk(path, chunk):
    seen = []

    def measure(some):
        # What was measured before is on the disk already.
        lines = path.read_text().splitlines() if path.exists() else ['']
        seen.append((len(some), len(lines) - 1))
        return [Search(SPACE).member(subnet) for subnet in some]

    told = []
    evaluations = Evaluations(
        path,
        HEADER,
        measure,
        chunk,
        lambda known, number: told.append((len(known.known), number)),
    )
    evaluations.start()
    evaluations(subnets(10))
    sizes = [size for size, _ in seen]
    assert sum(sizes) == 10
    assert max(sizes) == min(chunk, 10)
    assert [lines for _, lines in seen] == [
        sum(sizes[:i]) for i in range(len(sizes))
    ]
    assert told == [(sum(sizes[: i + 1]), n) for i, n in enumerate(sizes)]


def test_a_file_holds_header_and_members_in_order(written):
    header, members = read_evaluations(written, SPACE)
    assert header == HEADER
    search = Search(SPACE)
    assert members == [search.member(subnet) for subnet in subnets(12)]


def test_resume_knows_what_was_measured(written):
    before = written.read_bytes()
    search, number = resumed(written)
    assert number == 12
    assert written.read_bytes() == before
    some = subnets(15)
    found = search.evaluations(some)
    assert search.measured == some[12:]
    assert found == [search.member(subnet) for subnet in some]
    assert list(search.evaluations.used) == some
    # Only what is new was added.
    assert written.read_bytes().startswith(before)
    assert len(read_evaluations(written, SPACE)[1]) == 15


def test_known_is_not_used_before_it_is_asked_for(written):
    search, _ = resumed(written)
    assert len(search.evaluations.known) == 12
    assert search.evaluations.used == {}
    search.evaluations(subnets(12)[5:7])
    assert list(search.evaluations.used) == subnets(12)[5:7]


def test_a_file_that_is_there_is_not_overwritten(written):
    before = written.read_bytes()
    search = Search(SPACE, path=written, header=HEADER)
    with pytest.raises(FileExistsError, match=f'{written} .*--resume'):
        search.evaluations.start()
    assert written.read_bytes() == before


def test_no_file_to_resume_begins_anew(path):
    assert resumed(path)[1] == 0
    assert read_evaluations(path, SPACE) == (HEADER, [])


def test_a_file_begins_with_its_header_alone(path):
    Search(SPACE, path=path, header=HEADER).evaluations.start()
    assert read_evaluations(path, SPACE) == (HEADER, [])
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
    search, known = resumed(path)
    assert known == 0
    search.evaluations(subnets(3))
    assert len(read_evaluations(path, SPACE)[1]) == 3


def test_a_search_that_began_in_between_is_not_joined(path, monkeypatch):
    """Both saw no file; the header of the first stays."""
    second = Search(SPACE, path=path, header=dict(HEADER, seed=4))
    link = Path.hardlink_to

    def late(target, source):
        monkeypatch.setattr(Path, 'hardlink_to', link)
        Search(SPACE, path=path, header=HEADER).evaluations.start()
        link(target, source)

    monkeypatch.setattr(Path, 'hardlink_to', late)
    with pytest.raises(FileExistsError, match='is there already: --resume'):
        second.evaluations.start()
    assert read_evaluations(path, SPACE) == (HEADER, [])
    assert list(path.parent.iterdir()) == [path]


def test_a_kill_before_the_header_leaves_no_file(path, monkeypatch):
    def killed(target, source):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'hardlink_to', killed)
        with pytest.raises(KeyboardInterrupt):
            Search(SPACE, path=path, header=HEADER).evaluations.start()
    assert not path.exists()
    assert resumed(path)[1] == 0


@pytest.mark.parametrize('resume', [False, True])
def test_one_search_at_a_time_writes(path, resume):
    first = Search(SPACE, path=path, header=HEADER).evaluations
    second = Search(SPACE, path=path, header=HEADER).evaluations
    with first.opened(SPACE, resume) as known:
        assert known == 0
        first(subnets(2))
        before = path.read_bytes()
        with (
            pytest.raises(ValueError, match='another search is writing'),
            second.opened(SPACE, resume=True),
        ):
            raise AssertionError('both write')
        with (
            pytest.raises(FileExistsError, match='is there already'),
            second.opened(SPACE, resume=False),
        ):
            raise AssertionError('both write')
        assert path.read_bytes() == before
    with second.opened(SPACE, resume=True) as known:
        assert known == 2


@pytest.mark.parametrize('number', [0, 2])
def test_a_search_that_fails_keeps_its_results(path, number):
    evaluations = Search(SPACE, path=path, header=HEADER).evaluations

    def fail():
        with evaluations.opened(SPACE, resume=False):
            evaluations(subnets(number))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    # A header alone would only be in the way.
    assert path.exists() == (number > 0)
    assert resumed(path)[1] == number


def test_an_open_search_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = Search(SPACE)
    with search.evaluations.opened(SPACE, resume=True) as known:
        assert known == 0
        search.evaluations(subnets(3))
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = Search(SPACE)
    search.evaluations.start()
    search.evaluations(subnets(3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(seed=4), r"\['seed'\] differ; seed=3 there, 4 here"),
        (dict(limits=[0.5, None]), r"\['limits'\] differ"),
        (dict(more=1), r"\['more'\] differ; more=None there, 1 here"),
        (dict(seed=4, space='x'), r"\['seed', 'space'\] differ"),
    ],
)
def test_a_file_of_another_search(written, changes, words):
    before = written.read_bytes()
    with pytest.raises(ValueError, match=f'{written} .*{words}'):
        resumed(written, {**HEADER, **changes})
    assert written.read_bytes() == before


def fails(path, words):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words) as error:
        resumed(path)
    assert str(error.value).startswith(f'{path}: line ')
    assert path.read_bytes() == before


@pytest.mark.parametrize('cut', [1, 2, 30])
def test_a_cut_file(written, cut):
    content = written.read_bytes()
    written.write_bytes(content[:-cut])
    fails(written, 'line 13 is cut')


def test_a_file_that_is_cut_everywhere(written):
    content = written.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for size in range(0, len(content), 37):
        written.write_bytes(content[:size])
        if size in ends:
            assert resumed(written)[1] == ends.index(size)
        else:
            with pytest.raises(ValueError, match='is cut or the file is'):
                resumed(written)


def test_what_the_error_says_helps(written):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text(''.join(lines)[:-20])
    fails(written, 'delete that line')
    written.write_text(''.join(lines[:-1]))
    assert resumed(written)[1] == 11


@pytest.mark.parametrize('seed', range(20))
def test_a_byte_that_changed(written, seed):
    content = bytearray(written.read_bytes())
    rng = np.random.default_rng(seed)
    place = int(rng.integers(len(content) - 1))
    content[place] = (content[place] + int(rng.integers(1, 256))) % 256
    line = bytes(content[:place]).count(b'\n') + 1
    written.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=rf'{written}: line ({line}|\d+)'):
        resumed(written)
    assert written.read_bytes() == bytes(content)


def test_a_result_that_was_edited(written):
    lines = written.read_text().splitlines()
    record = json.loads(lines[4])
    record['metrics']['top1'] += 1
    lines[4] = json.dumps(record)
    written.write_text('\n'.join(lines) + '\n')
    fails(written, 'line 5: its content does not fit its checksum')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'line 1 is cut or the file is empty'),
        (b'\n', 'line 1: '),
        (b'{}\n', 'line 1: no record of a search'),
        (b'[1]\n', 'line 1: no record of a search'),
        (b'a, b\n1, 2\n', 'line 1: '),
        (b'\x00\xff\xfe\n', 'line 1: '),
        (b'[' * 100_000 + b'\n', 'line 1: '),
    ],
)
def test_other_files(path, content, words):
    path.parent.mkdir()
    path.write_bytes(content)
    fails(path, words)


def test_a_member_of_another_space(written):
    before = written.read_bytes()
    other = SearchSpace([8, 16], [1, 2], [8, 16], 3, 8)
    with pytest.raises(ValueError, match=r'line \d+: .*outside this space'):
        read_evaluations(written, other)
    assert written.read_bytes() == before


def test_a_file_without_its_first_line(written):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text(''.join(lines[1:]))
    before = written.read_bytes()
    with pytest.raises(ValueError, match='is of another search'):
        resumed(written)
    assert written.read_bytes() == before


def test_an_interrupted_measurement_keeps_what_was_done(path):
    search = Search(SPACE)

    def measure(some):
        if path.exists() and len(path.read_text().splitlines()) > 8:
            raise KeyboardInterrupt
        return [search.member(subnet) for subnet in some]

    evaluations = Evaluations(path, HEADER, measure, chunk=4)
    evaluations.start()
    with pytest.raises(KeyboardInterrupt):
        evaluations(subnets(12))
    assert resumed(path)[1] == 8
