"""A sample that is wrong is told by its name."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.runner import Runner

from eavit_mm.datasets.samples import leaves_of, name_of, samples_of
from eavit_mm.engine.checkpoint import naming
from eavit_mm.engine.unwrap import unwrap


def watch_data(runner: Runner) -> None:
    """Has all data that a runner will build checked and watched.

    Labels are checked when a loader is built, before the first step; what
    comes up while a sample is read is told by the sample's name.
    """
    build = runner.build_dataloader

    def build_dataloader(*args: Any, **kwargs: Any) -> Any:
        loader = build(*args, **kwargs)
        head = getattr(unwrap(runner.model), 'head', None)
        check_labels(loader.dataset, getattr(head, 'num_classes', None))
        for leaf in leaves_of(loader.dataset):
            if hasattr(getattr(leaf, 'pipeline', None), 'transforms'):
                leaf.pipeline = NamingPipeline(leaf.pipeline.transforms)
        return loader

    runner.build_dataloader = build_dataloader


def check_labels(dataset: Any, num_classes: Any) -> None:
    """Raises ``ValueError`` unless labels are those of classes there are.

    Args:
        dataset: Any; where nothing is known of its samples nothing is said.
        num_classes: The head's; None if there is none.
    """
    if not isinstance(num_classes, int):
        return
    named = len(getattr(dataset, 'metainfo', {}).get('classes') or ())
    if num_classes < named:
        raise ValueError(
            f'model.head.num_classes={num_classes}; the data have {named} '
            f'classes: must be at least {named}'
        )
    classes = named or num_classes
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


class NamingPipeline(Compose):
    """A pipeline whose errors name the sample."""

    def __call__(self, data: dict[str, Any]) -> Any:
        """What the transforms make of a sample."""
        with naming(f'{name_of(data)} cannot be read or transformed'):
            return super().__call__(data)
