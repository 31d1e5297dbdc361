"""What tells samples apart, and data that serve two purposes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from eavit_mm.engine.data_overlap import check_disjoint, sample_ids

from . import toys  # noqa: F401


@DATASETS.register_module()
class Listed(BaseDataset):
    """A data set that says just what it is given."""

    def __init__(self, infos: list[dict[str, Any]], **kwargs: Any) -> None:
        self.infos = infos
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(info) for info in self.infos]


def check(**configs: Any) -> None:
    """Of what each is for to the config of a data set."""
    check_disjoint({k: DATASETS.build(cfg) for k, cfg in configs.items()})


def listed(key: str, values: Any) -> dict[str, Any]:
    return dict(type='Listed', infos=[{key: value} for value in values])


def ids(*numbers: int) -> dict[str, Any]:
    return listed('sample_id', [f'n{number}' for number in numbers])


def test_the_id_stands_above_the_path_and_the_path_above_the_image():
    image = np.zeros((2, 2), dtype=np.uint8)
    infos = [
        dict(sample_id='a', img_path='a.png', img=image),
        dict(sample_id='b', img_path='a.png', img=image),
        dict(img_path='/no/a.png', img=image),
        dict(img_path='/no/b.png', img=image),
    ]
    assert sample_ids(Listed(infos)) == {'a', 'b', '/no/a.png', '/no/b.png'}


def test_images_are_told_apart_by_content():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 255, (2, 4, 4, 3), dtype=np.uint8)
    found = sample_ids(Listed([dict(img=first), dict(img=second)]))
    assert len(found) == 2
    # The same content in another memory layout.
    fortran = np.asfortranarray(first)
    assert sample_ids(Listed([dict(img=fortran)])) < found


def test_wrapped_data_sets():
    repeated = dict(type='RepeatDataset', times=3, dataset=ids(1, 2))
    assert sample_ids(DATASETS.build(repeated)) == {'n1', 'n2'}
    several = dict(type='ConcatDataset', datasets=[repeated, ids(5)])
    assert sample_ids(DATASETS.build(several)) == {'n1', 'n2', 'n5'}
    nested = dict(type='RepeatDataset', times=2, dataset=several)
    assert sample_ids(DATASETS.build(nested)) == {'n1', 'n2', 'n5'}
    # Nor need they be loaded yet.
    assert sample_ids(DATASETS.build({**ids(1), 'lazy_init': True})) == {'n1'}


def test_folds_of_one_data_set():
    data = dict(dataset=ids(*range(10)), fold=0, num_splits=5)
    folds = [
        dict(data, type='mmpretrain.KFoldDataset', test_mode=test_mode)
        for test_mode in (False, True)
    ]
    assert [len(sample_ids(DATASETS.build(fold))) for fold in folds] == [8, 2]
    check(train=folds[0], search=folds[1])


@pytest.mark.parametrize('kind', ['no key', 'no data set', 'wrapped'])
def test_samples_that_cannot_be_told_apart(kind):
    odd = dict(type='Listed', infos=[dict(gt_label=3, bbox=0)])
    if kind == 'no data set':  # of mmengine
        odd = dict(type='mmpretrain.ToyImages')
    elif kind == 'wrapped':
        odd = dict(type='RepeatDataset', times=2, dataset=odd)
    words = 'cannot be told apart: .*sample_id, img_path or img is needed'
    with pytest.raises(ValueError, match=words):
        sample_ids(DATASETS.build(odd))


SEVERAL = dict(type='ConcatDataset', datasets=[ids(1), ids(2, 3)])
IMAGES = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


@pytest.mark.parametrize(
    ('configs', 'message'),
    [
        (
            dict(train=ids(1, 2, 3), test=ids(7), search=ids(3, 2, 9)),
            "search data and the train data share 2 samples, such as 'n2'",
        ),
        (
            dict(train=ids(1), test=ids(7, 8), search=ids(8)),
            "search data and the test data share 1 samples, such as 'n8'",
        ),
        (
            dict(train=SEVERAL, search=ids(3)),
            "search data and the train data share 1 samples, such as 'n3'",
        ),
        (
            dict(train=listed('img', IMAGES[:2]), test=listed('img', IMAGES)),
            'test data and the train data share 2 samples, such as',
        ),
    ],
)
def test_shared_samples_are_counted(configs, message):
    advice = "keep them apart, for example with type='eavit_mm.Split'"
    with pytest.raises(ValueError, match=f'^the {message}.*: {advice}'):
        check(**configs)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: d/x with an image, and links to all three."""
    (tmp_path / 'd' / 'x').mkdir(parents=True)
    (tmp_path / 'd' / 'x' / '0.png').touch()
    (tmp_path / 'd' / 'file.png').symlink_to('x/0.png')
    (tmp_path / 'link').symlink_to('d')
    (tmp_path / 'far').symlink_to(tmp_path / 'd' / 'x')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'spelling',
    [
        './d//x/0.png',
        '{}/d/../d/x/0.png',
        'link/x/0.png',
        # Behind a link, '..' leads up from where the link leads to.
        'far/../x/0.png',
        'd/file.png',
    ],
)
def test_one_file_by_two_paths(folder, spelling):
    paths = listed('img_path', ['d/x/0.png', 'd/x/1.png'])
    other = listed('img_path', [spelling.format(folder)])
    with pytest.raises(ValueError, match='share 1 samples'):
        check(train=paths, search=other)


def test_a_relative_path_follows_the_working_directory(folder, monkeypatch):
    infos = [dict(img_path='0.png')]
    found = [sample_ids(Listed(infos))]
    monkeypatch.chdir(folder / 'd' / 'x')
    found.append(sample_ids(Listed(infos)))
    assert found == [{f'{folder}/0.png'}, {f'{folder}/d/x/0.png'}]


def test_a_url_is_no_path():
    urls = ['s3://data/a/../0.png', 'https://host//1.png']
    assert sample_ids(Listed([dict(img_path=url) for url in urls])) == {*urls}


@pytest.mark.parametrize('tool', ['train.py', 'search.py'])
def test_a_training_begins_with_images_of_its_own(tool, call, tmp_path):
    config = Path(__file__).parents[2] / 'configs/eavit/vitmini_digits.py'
    args = [config] if tool == 'train.py' else [config, 'epoch_1.pth']
    words = '^error: the search data and the train data share 1197 samples'
    with pytest.raises(SystemExit, match=words):
        call(tool, *args, '--cfg-options', 'val_dataloader.dataset.part=train')
    assert not list(tmp_path.rglob('*.pth'))
