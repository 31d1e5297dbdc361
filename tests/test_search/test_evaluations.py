import errno
import json
import os

import numpy as np
import pytest

from eavit_mm.search.evaluations import (
    Evaluations,
    _to_line,
    append_evaluations,
    open_evaluations,
    read_evaluations,
)

from .toys import SPACES, Search

SPACE = SPACES['free']
SEARCH = Search(SPACE)
HEADER = dict(space='free', seed=3, limits=[0.25, None], metric='top1 é')


def members(number, seed=0):
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(SPACE.uniform_ladder)
    while len(found) < number:
        found[SPACE.sample(rng)] = None
    return [SEARCH.member(subnet) for subnet in list(found)[:number]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'work' / 'evaluations.jsonl'


@pytest.fixture
def written(path):
    """A file of twelve evaluations."""
    with open_evaluations(path, HEADER, SPACE, resume=False) as known:
        assert known == []
        append_evaluations(path, members(5))
        append_evaluations(path, members(12)[5:])
    return path


def resumed(path, header=HEADER):
    with open_evaluations(path, header, SPACE, resume=True) as known:
        return known


def test_every_subnet_is_measured_once():
    search = Search(SPACE)
    some = [member.subnet for member in members(9)]
    first = search.evaluations([*some[:5], some[0], some[0]])
    assert [m.subnet for m in first] == [*some[:5], some[0], some[0]]
    assert search.measured == some[:5]
    again = search.evaluations([some[7], some[2], some[7]])
    assert [m.subnet for m in again] == [some[7], some[2], some[7]]
    assert search.measured == [*some[:5], some[7]]
    assert list(search.evaluations.used) == [*some[:5], some[7]]
    assert all(m == search.member(m.subnet) for m in [*first, *again])
    assert search.evaluations([]) == []


@pytest.mark.parametrize('chunk', [1, 4, 32])
def test_the_first_count_before_the_others_are_measured(chunk):
    some = [member.subnet for member in members(12)]
    before = {}

    def measure(subnets):
        before.update(dict.fromkeys(subnets, list(evaluations.used)))
        return list(map(SEARCH.member, subnets))

    evaluations = Evaluations(measure, chunk=chunk, first=5)
    assert [m.subnet for m in evaluations(some[:9])] == some[:9]
    evaluations(some)
    assert list(evaluations.used) == some
    for number, subnet in enumerate(some):
        used = 0 if number < 5 else 5 if number < 9 else 9
        assert before[subnet] == some[:used]


@pytest.mark.parametrize('chunk', [1, 4, 100])
def test_results_are_told_chunk_by_chunk(chunk):
    told = []

    def tell(some):
        # Not known yet: they may fail to be written.
        assert not any(member.subnet in evaluations.known for member in some)
        told.append(some)

    evaluations = Evaluations(Search(SPACE).measure, (), chunk, tell)
    evaluations([member.subnet for member in members(10)])
    assert [m for some in told for m in some] == members(10)
    assert {len(some) for some in told[:-1]} <= {chunk}


def test_a_file_holds_header_and_members_in_order(written):
    assert read_evaluations(written, SPACE) == (HEADER, members(12))
    before = written.read_bytes()
    assert resumed(written) == members(12)
    assert written.read_bytes() == before
    append_evaluations(written, members(13)[12:])
    assert written.read_bytes().startswith(before)
    assert resumed(written) == members(13)
    assert list(written.parent.glob('[!.]*')) == [written]
    assert written.stat().st_mode & 0o777 == 0o644


def test_no_file_to_resume_begins_anew(path):
    with open_evaluations(path, HEADER, SPACE, resume=True) as known:
        assert known == []
        assert read_evaluations(path, SPACE) == (HEADER, [])


def begin(path, header=HEADER):
    with open_evaluations(path, header, SPACE, resume=False):
        pass


def test_a_file_that_is_there_is_not_overwritten(written):
    before = written.read_bytes()
    with pytest.raises(FileExistsError, match=f'{written} .*--resume'):
        begin(written)
    assert written.read_bytes() == before


def test_no_hard_links_are_needed(path, monkeypatch):
    """Network and cloud mounts have none."""
    for name in ('link', 'symlink'):
        monkeypatch.delattr(os, name)
    begin(path)
    assert resumed(path) == []


@pytest.mark.parametrize('resume', [False, True])
def test_one_search_at_a_time_writes(path, resume):
    with open_evaluations(path, HEADER, SPACE, resume):
        append_evaluations(path, members(2))
        before = path.read_bytes()
        for other in (resumed, begin):
            with pytest.raises(ValueError, match='process .* is writing th'):
                other(path)
        assert path.read_bytes() == before
    assert resumed(path) == members(2)


@pytest.mark.parametrize('number', [0, 2])
@pytest.mark.parametrize('resume', [False, True])
def test_a_search_that_fails_keeps_its_results(path, number, resume):
    def fail():
        with open_evaluations(path, HEADER, SPACE, resume):
            append_evaluations(path, members(number))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    # A header alone would only be in the way.
    assert path.exists() == (number > 0)
    assert resumed(path) == members(number)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(seed=4), r"\['seed'\] differ; seed=3 there, 4 here"),
        (dict(more=1), r"\['more'\] differ; more=None there, 1 here"),
        (
            dict(limits=[0.5, None], space='x'),
            r"\['limits', 'space'\] differ",
        ),
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


def test_a_file_that_is_cut_anywhere(written):
    content = written.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for size in [*range(0, len(content), 137), *ends]:
        written.write_bytes(content[:size])
        if size < ends[0]:
            fails(written, 'line 1 is cut .* move the file away')
            continue
        number = sum(end <= size for end in ends)
        assert read_evaluations(written, SPACE)[1] == members(number - 1)
        assert resumed(written) == members(number - 1)
        # What comes next does not follow upon half a line.
        assert written.read_bytes() == content[: ends[number - 1]]


def test_a_full_disk_loses_what_is_not_written_alone(written, monkeypatch):
    fsync = os.fsync

    def fail(number):
        os.truncate(number, os.fstat(number).st_size - 9)
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match=f"space left on device: '{written}'"):
        append_evaluations(written, members(14)[12:])
    monkeypatch.setattr(os, 'fsync', fsync)
    with open_evaluations(written, HEADER, SPACE, resume=True) as known:
        assert known == members(13)
        append_evaluations(written, members(14)[13:])
    assert resumed(written) == members(14)


@pytest.mark.parametrize('seed', range(4))
def test_a_byte_that_changed(written, seed):
    content = bytearray(written.read_bytes())
    rng = np.random.default_rng(seed)
    place = int(rng.integers(len(content) - 1))
    content[place] = (content[place] + int(rng.integers(1, 256))) % 256
    written.write_bytes(bytes(content))
    fails(written, r'line \d+')


def test_a_result_that_was_edited(written):
    lines = written.read_text().splitlines()
    record = json.loads(lines[4])
    record['metrics']['top1'] += 1
    lines[4] = json.dumps(record)
    written.write_text('\n'.join(lines) + '\n')
    fails(written, 'line 5: its content does not fit its checksum')


@pytest.mark.parametrize('value', [10**400, float('inf'), float('nan'), True])
@pytest.mark.parametrize('key', ['macs', 'latency', 'metrics', 'subnet'])
def test_a_result_that_is_no_number(written, key, value):
    record = members(1)[0].to_dict()
    part = dict(metrics='top1', subnet='embed_dims')
    (record[key] if key in part else record)[part.get(key, key)] = value
    with written.open('a') as file:
        file.write(_to_line(record))
    fails(written, f'line 14: .*{part.get(key, key)}={value!r:.3}')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'line 1 is cut or the file is empty'),
        (b'\n', 'line 1: '),
        (b'[1]\n', 'line 1: no record of a search'),
        (b'\x00\xff\xfe\n', 'line 1: '),
        (b'[' * 100_000 + b'\n', 'line 1: '),
    ],
)
def test_other_files(path, content, words):
    path.parent.mkdir()
    path.write_bytes(content)
    fails(path, words)


def test_a_file_without_its_first_line(written):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text(''.join(lines[1:]))
    with pytest.raises(ValueError, match='is of another search'):
        resumed(written)
