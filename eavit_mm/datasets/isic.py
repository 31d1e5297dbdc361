"""Lesions of the skin, with the table of their classes that ISIC publishes."""

import csv
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from eavit_mm.options import check_choice
from eavit_mm.registry import DATASETS


@DATASETS.register_module()
class ISIC(BaseDataset):
    """ISIC's challenge of 2018, task 3, in the folders of its archives.

    Args:
        data_root: Folder of ``ISIC2018_Task3_Training_Input`` and the others.
        split: 'Training', 'Validation' or 'Test'.
        **kwargs: Those of mmpretrain's ``BaseDataset``; ``ann_file`` may name
            another table with a column ``image`` and one for each class.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If an image is not of one class; names its line.
    """

    METAINFO = {'classes': ('MEL', 'NV', 'BCC', 'AKIEC', 'BKL', 'DF', 'VASC')}

    def __init__(self, split: str = 'Training', **kwargs: Any) -> None:
        check_choice('split', split, ('Training', 'Validation', 'Test'))
        stem = f'ISIC2018_Task3_{split}'
        table = f'{stem}_GroundTruth'
        usual = dict(
            ann_file=f'{table}/{table}.csv', test_mode=split == 'Test'
        )
        super().__init__(**dict(usual, data_prefix=f'{stem}_Input') | kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Paths and labels."""
        data, classes = [], self.metainfo['classes']
        # Excel begins a table with a mark of its own.
        with Path(self.ann_file).open(
            newline='', encoding='utf-8-sig'
        ) as file:
            rows = csv.DictReader(file)
            for row in rows:
                try:
                    marks = [float(row[name]) for name in classes]
                    (label,) = (i for i, mark in enumerate(marks) if mark == 1)
                    path = Path(self.img_prefix, f'{row["image"]}.jpg')
                except (KeyError, TypeError, ValueError):
                    raise ValueError(
                        f'{self.ann_file}, line {rows.line_num}: no image of '
                        f'one of the classes {list(classes)}: {row!r:.200}'
                    ) from None
                data.append(dict(img_path=str(path), gt_label=label))
        return data
