"""The page about an adaptation, from files as its tools write them."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from shutil import rmtree

import pytest
from test_search.toys import SPACES, Search

from eavit_mm.analysis.html_report import write_page
from eavit_mm.files import write_json
from eavit_mm.search.evaluations import append_evaluations, open_evaluations
from eavit_mm.search.front import build_front
from eavit_mm.space.pareto import ParetoFront

SPACE = SPACES['free']
VOID = {'meta', 'br', 'link', 'img', 'input'}


class Page(HTMLParser):
    """Texts and attributes by tag; fails unless every tag is closed."""

    def __init__(self, path):
        super().__init__()
        self.open, self.texts, self.attributes = [], {}, []
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        self.texts.setdefault(tag, []).append('')
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def marks(self, start):
        """Texts of the points of a chart."""
        return [t for t in self.texts['title'] if t.startswith(start)]


def report_of(member):
    return dict(
        subnet=member.subnet.to_dict(),
        max_difference={
            'model.pth': dict(float32=2e-7, float64=3e-16),
            'model.onnx': dict(float32=4e-6),
        },
        batch_sizes=[1, 7],
        images=0,
        macs_of_largest=123_000_000,
        params_of_largest=45_000_000,
        params_of_parts=dict(backbone=1, head=1, total=2),
        bytes={'model.pth': 1_234_567, 'model.onnx': 2_345_678},
        latency_ms=dict(
            **dict(largest=5.678, exported=1.357, device='a CPU'),
            **dict(dtype='float32', batch_size=1, threads=3),
        ),
        input=dict(
            **dict(shape=['batch', 3, 8, 8], channel_order='RGB'),
            **dict(classes=['cat'], mean=[1.5], std=[2.5]),
        ),
    )


def write_table(folder, name, members, config, metric='top1'):
    rows = [
        dict(
            **dict(member.to_dict(), name=budget, budget=budget),
            **dict(macs_ratio=0.4, by='router', part='total', used=0.987),
            **dict(limit=member.macs + 1, delivered=member.macs),
        )
        for budget, member in members.items()
    ]
    place = dict(budgets='export', presets='presets')[name]
    for row, member in zip(rows, members.values(), strict=True):
        report = folder / place / row['budget'] / 'report.json'
        write_json(report_of(member), report)
    checkpoint = f'/gone/{config}/epoch_3.pth'
    table = dict(config=f'/gone/{config}.py', checkpoint=checkpoint)
    table |= dict(metric=metric, samples=450, subnets=rows)
    write_json(table, folder / f'{name}.json')


def write_stages(folder, data):
    notes = dict(stage1=dict(source=dict(data=data)))
    write_json(notes, folder / 'stages.json')


@pytest.fixture
def work(tmp_path):
    """A work directory with all that a page can be about."""
    folder, search = tmp_path / 'work', Search(SPACE)
    ladder = SPACE.uniform_ladder
    members = search.measure([*ladder, SPACE.smallest, SPACE.uniform(0.6)])
    file = folder / 'search' / 'evaluations.jsonl'
    with open_evaluations(file, {'version': 1}, SPACE, resume=False):
        # The last has left a race.
        left = replace(members[1], parts={'10': 3.0})
        append_evaluations(file, [*members, left])
    front = build_front(search.objectives, members, 4, samples=150)
    front.write(folder / 'search' / 'pareto.json')
    write_table(folder, 'budgets', {'0.5': members[-1]}, 'stage2')
    write_table(folder, 'presets', {'60%': members[-2]}, 'stage1')
    data = dict(train=dict(samples=1197, classes=['cat', 'dog']))
    write_stages(folder, data)
    return folder


def test_a_page_says_what_the_files_say(work):
    path = write_page(work)
    page, text = Page(path), path.read_text()
    front = json.loads((work / 'search' / 'pareto.json').read_text())
    points = page.marks('front (search, 150 held-out samples)')
    assert len(points) == len(front['members'])
    cloud = max(re.findall(r'class="cloud" d="([^"]*)"', text), key=len)
    assert cloud.count('h0') == len(SPACE.uniform_ladder) + 2
    for point, member in zip(points, front['members'], strict=True):
        assert f'{member["macs"] / 1e6:.3f} MMACs' in point
        assert f'top1 {member["metrics"]["top1"]:.2f}' in point
    ladder = {s.to_dict()['embed_dims'] for s in SPACE.uniform_ladder}
    assert len(page.marks('uniform widths')) >= len(ladder)
    (answer,) = page.marks(
        'answers to budgets, by the router (test, 450 samples)'
    )
    assert 'Budget 0.5, of which 98.7% is used' in answer
    (preset,) = page.marks('presets, by the router')
    assert (
        f'heads {" ".join(map(str, SPACE.uniform(0.6).num_heads))};' in answer
    )
    assert page.marks('Layer 3: off')
    for words in ('1.23 MB', '1.36 ms', '23.9%', 'a CPU', '45.000 Mparams'):
        assert words in text
    for words in ('2e-07 in float32, 3e-16 in float64', '4e-06 in float32'):
        assert words in page.texts['td']
    code = ' '.join(' '.join(page.texts['pre']).split())
    assert "'export/0.5/config.py', pretrained='export/0.5/model.pth')" in code
    assert "'presets/60%/model.onnx'" in code
    assert 'Samples: train 1,197. 2 classes: cat, dog.' in text
    # Nothing is asked of a network, and no path but from here.
    assert not re.search(r'https?:|url\(|@import|\bsrc=|/gone/', text)
    links = [value for _, name, value in page.attributes if name == 'href']
    assert links
    assert all((work / link).is_file() for link in links)


def test_it_is_made_again_byte_for_byte(work, tmp_path):
    first = write_page(work).read_bytes()
    assert write_page(work).read_bytes() == first
    assert not [*work.glob('.*report*')]
    moved = work.rename(tmp_path / 'moved')
    text = write_page(moved).read_text()
    assert text.replace('moved', 'work').encode() == first
    assert b'quick' not in first
    assert 'A quick trial: a tenth' in write_page(moved, True).read_text()


def test_names_stay_text(work):
    bad = '<script>alert("\'")</script>'
    data = dict(train=dict(samples=1, classes=[bad, bad]))
    write_stages(work, data)
    table = json.loads((work / 'budgets.json').read_text())
    table |= dict(metric=bad, checkpoint=f'a/{bad}/b c.pth')
    for row in table['subnets']:
        row.update(by=bad, metrics={bad: 1.0})
    write_json(table, work / 'budgets.json')
    (work / 'search' / 'pareto.json').unlink()  # it has another metric
    folder = work.rename(work.with_name("<script>it's"))
    page = Page(write_page(folder))
    assert len(page.texts['script']) == 1
    assert page.texts['h1'] == ["<script>it's"]
    assert bad in page.texts['p'][1]
    assert f'answers to budgets, by {bad}' in ''.join(page.texts['title'])


@pytest.mark.parametrize(
    ('name', 'lost'),
    [
        ('stages.json', 'Samples: '),
        ('search/pareto.json', 'front (search'),
        ('search/evaluations.jsonl', 'evaluated by the search</span>'),
        ('budgets.json', 'answers to budgets'),
        ('export/0.5/report.json', "'export/0.5/model.pth'"),
    ],
)
def test_what_is_missing_or_broken_is_left_out(work, name, lost):
    assert lost in unescape(write_page(work).read_text())
    for content in ('no JSON', 'null', '{}', '[]', None):
        if content is None:
            (work / name).unlink()
        else:
            (work / name).write_text(content)
        text = unescape(write_page(work).read_text())
        Page(work / 'report.html')
        assert lost not in text
        assert "'presets/60%/model.pth'" in text


@pytest.mark.parametrize(
    ('name', 'keys', 'lost'),
    [
        (
            'export/0.5/report.json',
            [*report_of(Search(SPACE).measure([SPACE.largest])[0])],
            "'export/0.5/model.pth'",
        ),
        (
            'budgets.json',
            ['used', 'macs_ratio', 'limit', 'subnet', 'budget', 'by'],
            'Budget 0.5',
        ),
    ],
)
def test_a_part_without_a_key_is_left_out(work, name, keys, lost):
    whole = (work / name).read_text()
    for key in keys:
        values = json.loads(whole)
        rows = values.get('subnets', [values])
        assert rows[0].pop(key) is not None
        write_json(values, work / name)
        text = unescape(write_page(work).read_text())
        assert lost not in text, key
        assert "'presets/60%/model.pth'" in text


def test_values_of_a_wrong_kind_are_left_out(work):
    for samples, classes in ((None, ['cat']), (7, 7)):
        write_stages(work, dict(a=dict(samples=samples, classes=classes)))
        assert 'Samples: ' not in write_page(work).read_text()
    table = json.loads((work / 'budgets.json').read_text())
    write_json(table | dict(samples=None), work / 'budgets.json')
    assert 'Budget 0.5' not in write_page(work).read_text()


def test_a_class_whose_name_is_not_utf_8(work):
    write_stages(work, dict(a=dict(samples=7, classes=['caf\udce9', 'cat'])))
    assert '2 classes: caf?, cat.' in write_page(work).read_text()


def test_a_latency_is_compared_within_its_own_run(work):
    path = work / 'export' / '0.5' / 'report.json'
    report = json.loads(path.read_text())
    report['latency_ms'] |= dict(exported=4.0, largest=8.0)
    write_json(report, path)
    cells = Page(write_page(work)).texts['td']
    for time, share in (('4.00 ms', '50.0%'), ('1.36 ms', '23.9%')):
        assert cells[cells.index(time) + 1] == share
    assert not {'8.00 ms', '5.68 ms'} & {*cells}


def test_an_input_of_four_channels_has_no_order(work):
    path = work / 'export' / '0.5' / 'report.json'
    report = json.loads(path.read_text())
    report['input'] = dict(shape=['batch', 4, 8, 8], channel_order=None)
    write_json(report, path)
    assert 'float32, batch × 4 × 8 × 8.</p>' in write_page(work).read_text()


def test_a_chart_has_one_metric(work):
    table = json.loads((work / 'budgets.json').read_text())
    table['metric'] = 'other'
    for row in table['subnets']:
        row['metrics'] = dict(other=0.5)
    write_json(table, work / 'budgets.json')
    page = Page(write_page(work))
    assert page.marks('presets')
    assert not page.marks('answers to budgets')
    assert 'other' in page.texts['th']


def test_budgets_of_a_part_are_asked_for_again_as_such(work):
    assert '--part' not in write_page(work).read_text()
    table = json.loads((work / 'budgets.json').read_text())
    table['subnets'][0]['part'] = 'backbone'
    write_json(table, work / 'budgets.json')
    (work / 'presets.json').unlink()
    text = write_page(work).read_text()
    assert 'limit the backbone alone' in text
    assert '--budget 0.9 --part backbone --out export/0.9' in text
    assert '--budgets 0.7 0.9 --part backbone<' in text


def test_a_report_of_another_network_is_not_taken(work):
    path = work / 'export' / '0.5' / 'report.json'
    report = json.loads(path.read_text())
    report['subnet']['embed_dims'] += 8
    write_json(report, path)
    text = write_page(work).read_text()
    assert text.count('<h4>Certificate</h4>') == 1
    assert 'not exported' in text


def test_an_empty_folder_and_other_costs(work):
    front = ParetoFront.read(work / 'search' / 'pareto.json', SPACE)
    values = front.to_dict() | dict(objectives=['metric', 'params', 'macs'])
    write_json(values, work / 'search' / 'pareto.json')
    labels = [
        v
        for t, n, v in Page(write_page(work)).attributes
        if t == 'svg' and n == 'aria-label'
    ]
    assert labels[:2] == [
        'top1 over million parameters',
        'top1 over MMACs per image',
    ]
    for name in ('search', 'export', 'presets'):
        rmtree(work / name)
    for path in work.iterdir():
        path.unlink()
    assert Page(write_page(work)).texts['h1'] == ['work']
