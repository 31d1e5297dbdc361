"""Where the data sets of our configs are published, and what they look like.

The facts are in ``published.csv``. Check sums are those of torchvision, of
MedMNIST's package, of torchgeo and, of FGVC-Aircraft, of torchvision for R;
ISIC's archives have none.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

# What to do where nothing can be fetched.
BY_HAND = {
    'cars': 'its links at ai.stanford.edu/~jkrause/cars are dead; get a copy '
    'elsewhere (github.com/pytorch/vision/issues/7545 names some) and lay it '
    'out as mmpretrain reads it: car_ims/*.jpg and cars_annos.mat',
}


class Part(NamedTuple):
    """A file or folder of a data set.

    Attributes:
        place: Where it lies below the folder of all data.
        url: Of the file or of an archive; '': it is published no more.
        digest: Of what is fetched, md5 or, if longer, sha256; '': not known.
        top: The folder of the archive that becomes the place; '': a file.
        pattern: Of the files that are read from the folder, or several
            patterns, of each of which there must be one; a name with a colon
            and an md5: that very file.
        least: How many of these there are at least.
    """

    place: str
    url: str
    digest: str = ''
    top: str = ''
    pattern: str = ''
    least: int = 0


def _read() -> dict[str, tuple[Part, ...]]:
    sets: dict[str, tuple[Part, ...]] = {}
    file = Path(__file__).with_suffix('.csv')
    for row in csv.DictReader(file.read_text().splitlines()):
        name, least = row.pop('name'), int(row.pop('least') or 0)
        sets[name] = (*sets.get(name, ()), Part(**row, least=least))
    return sets


# Names of sets, as of our configs, to their parts.
SETS = _read()


# Small sets in folders, which nobody publishes so. They may share their place
# with a published set of another layout.
IN_FOLDERS = dict.fromkeys(
    ('flowers89', 'dtd10', 'eurosat', 'btmri', 'cifar100'),
    '{train,val,test}/CLASS/*',
)
IN_FOLDERS |= dict(
    camvid='{images,annotations}/{train,val,test}/*',
    pets_seg='{images,annotations}/{train,test}/*',
)


def how_to_get(text: str) -> str:
    """What makes the set of whose files a message speaks; '' of others.

    They lie below a folder that is called data, as in our configs. It is a
    command, or, of folders that none makes, their layout.
    """
    inside = r'(train|val|test|images|annotations)\b'
    if re.search(r'\bdata/images\b', text):
        return (
            'put images of your own at data/images/CLASS/*, or give their '
            'folder to tools/adapt.py CONFIG --data DIR (docs/your_data.md)'
        )
    for name, layout in IN_FOLDERS.items():
        if re.search(rf'\bdata/{name}/{inside}', text):
            return (
                f'put images of your own at data/{name}/{layout} '
                '(docs/your_data.md); prepare_data does not make these folders'
            )
    whole = {p.place: name for name, parts in SETS.items() for p in parts}
    folders = {place.partition('/')[0]: n for place, n in whole.items()}
    for place, name in [*whole.items(), *folders.items()]:
        if re.search(rf'\bdata/{re.escape(place)}\b', text):
            return f'python -m eavit_mm prepare_data {name}'
    return ''
