"""A sample that is wrong is told by its name."""

from collections.abc import Mapping, Sequence, Set
from inspect import signature
from pathlib import Path
from typing import Any

from mmcv.transforms import LoadAnnotations
from mmengine.dataset import Compose
from mmengine.runner import Runner
from torch import nn

from eavit_mm.datasets.samples import leaves_of, name_of, samples_of
from eavit_mm.engine.checkpoint import naming
from eavit_mm.engine.data_overlap import images_found
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.export.config import class_of, datasets_in

# How mmpretrain's and mmseg's models call them; each may be a list.
_HEADS = ('head', 'decode_head', 'auxiliary_head')


def watch_data(runner: Runner) -> None:
    """Has all data that a runner will build checked and watched.

    Labels of images are checked when a loader is built, before the first
    step, and that masks are there; what comes up while a sample is read,
    labels of its pixels included, is told by the sample's name.
    """
    build = runner.build_dataloader

    def build_dataloader(*args: Any, **kwargs: Any) -> Any:
        with images_found():
            loader = build(*args, **kwargs)
        heads = heads_of(unwrap(runner.model))
        classes = check_labels(loader.dataset, heads)
        ignored = {getattr(h, 'ignore_index', 255) for h in heads.values()}
        for leaf in leaves_of(loader.dataset):
            steps = getattr(getattr(leaf, 'pipeline', None), 'transforms', ())
            if any(isinstance(step, LoadAnnotations) for step in steps):
                check_files(leaf)
            if steps:
                leaf.pipeline = NamingPipeline(steps, classes or 256, ignored)
        return loader

    runner.build_dataloader = build_dataloader


def without_download(loader: dict[str, Any]) -> dict[str, Any]:
    """A loader's config, whose data sets of mmpretrain fetch nothing."""
    for data in datasets_in(loader):
        if 'download' in signature(class_of(data) or object).parameters:
            data['download'] = False
    return loader


def heads_of(model: Any) -> dict[str, Any]:
    """The heads of a model that say a number of classes, by their place."""
    found = {}
    for name in _HEADS:
        head: Any = getattr(model, name, None)
        is_list = isinstance(head, nn.ModuleList)
        for i, each in enumerate(head) if is_list else [('', head)]:
            if isinstance(getattr(each, 'num_classes', None), int):
                found[f'model.{name}.{i}'.rstrip('.')] = each
    return found


def check_labels(dataset: Any, heads: Mapping[str, Any]) -> int | None:
    """Raises ``ValueError`` unless labels are those of classes there are.

    Args:
        dataset: Any; where nothing is known of its samples nothing is said.
        heads: Those with ``num_classes``, by their place.

    Returns:
        The number of classes; None if no head says one.
    """
    if not heads:
        return None
    named = len(getattr(dataset, 'metainfo', {}).get('classes') or ())
    numbers = []
    for place, head in heads.items():
        option, number = f'num_classes={head.num_classes}', head.num_classes
        if getattr(head, 'out_channels', None) == 1:
            option, number = 'out_channels=1', 2  # tells two classes apart
        if number < named:
            raise ValueError(
                f'{place}.{option}; the data have {named} classes: must be at '
                f'least {named}'
            )
        numbers.append(number)
    classes: int = named or min(numbers)
    has_one: dict[bool, str] = {}  # a label, or none: a sample
    for sample in filter(None, samples_of(dataset)):
        label = sample.get('gt_label')
        has_one[label is not None] = name_of(sample)
        for number in label if isinstance(label, Sequence) else [label]:
            if isinstance(number, int) and not 0 <= number < classes:
                raise ValueError(
                    f'{name_of(sample)}: gt_label={label}; must be at least 0 '
                    f'and below {classes}, the number of classes'
                )
    if len(has_one) > 1:
        raise ValueError(f'{has_one[False]}: has no gt_label, as others have')
    return classes


def check_files(dataset: Any) -> None:
    """Raises ``ValueError`` if images or their masks are not there.

    Args:
        dataset: One that reads masks; where they lie on no disk, as one of
            mmseg's with ``backend_args``, nothing is said.
    """
    if getattr(dataset, 'backend_args', None):
        return
    samples = [s for s in samples_of(dataset) if 'seg_map_path' in s]
    for key, kind in (('img_path', 'images'), ('seg_map_path', 'masks')):
        paths = [sample[key] for sample in samples]
        here = [path for path in paths if '://' not in path]
        if lost := [path for path in here if not Path(path).is_file()]:
            raise ValueError(
                f'{len(lost)} of {len(paths)} {kind} are not there, such as '
                f'{lost[0]}'
            )


def check_mask(
    data: Mapping[str, Any], classes: int, ignored: Set[int]
) -> None:
    """Raises ``ValueError`` unless a mask fits its image and the classes.

    Args:
        data: A sample, in which a transform has just put the mask.
        classes: How many there are.
        ignored: Labels of pixels that no loss counts.
    """
    mask = data['gt_seg_map']
    if mask.ndim != 2:
        raise ValueError(
            f'its mask has the shape {mask.shape}; must be one number a pixel'
        )
    shape = tuple(data.get('ori_shape', mask.shape)[:2])
    if mask.shape != shape:
        raise ValueError(
            f'its mask is of (height, width) = {mask.shape}; must be {shape}, '
            'as the image'
        )
    is_wrong = mask >= classes
    for label in ignored:
        is_wrong &= mask != label
    if is_wrong.any():
        # As the file has it.
        first = 1 if data.get('reduce_zero_label') else 0
        label = int(mask[is_wrong][0]) + first
        raise ValueError(
            f'its mask has the label {label}; must be at least {first} and '
            f'below {classes + first}, one of {classes} classes, or '
            f'{sorted(ignored)}, which is ignored'
        )


class NamingPipeline(Compose):
    """A pipeline whose errors name the sample.

    Args:
        transforms: The steps.
        classes: How many its masks may have; 256: any.
        ignored: Labels of pixels that no loss counts.
    """

    def __init__(
        self,
        transforms: Sequence[Any],
        classes: int = 256,
        ignored: Set[int] = frozenset(),
    ) -> None:
        super().__init__(transforms)
        self.classes, self.ignored = classes, ignored

    def __call__(self, data: dict[str, Any]) -> Any:
        """What the transforms make of a sample."""
        names = [name_of(data), data.get('seg_map_path')]
        name = ' with the mask '.join(filter(None, names))
        with naming(f'{name} cannot be read or transformed'):
            for step in self.transforms:
                had_mask = 'gt_seg_map' in data
                data = step(data)
                if data is None:
                    break
                if 'gt_seg_map' in data and not had_mask:
                    check_mask(data, self.classes, self.ignored)
                samples = data.get('data_samples')
                if isinstance(samples, list) and 'gt_sem_seg' in samples[0]:
                    (mask,) = samples[0].gt_sem_seg.data  # of TestTimeAug
                    seen = dict(samples[0].metainfo, gt_seg_map=mask)
                    check_mask(seen, self.classes, self.ignored)
            return data
