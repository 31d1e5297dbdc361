"""Images for a network of one channel, wherever they come from."""

from typing import Any

from mmcv.image import bgr2gray
from mmcv.transforms import LoadImageFromFile

from eavit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadGrayImage(LoadImageFromFile):
    """Reads a file in gray, and makes gray what was read in colours.

    Of this mmpretrain's inferencers keep the second half: they leave
    ``LoadImageFromFile`` out of a pipeline and read any file in colours. An
    image that is there already, as in data sets in memory, is not read.

    Args:
        **kwargs: Those of mmcv's ``LoadImageFromFile``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{'color_type': 'grayscale', **kwargs})

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Adds ``img`` (height, width), or leaves (height, width, 1)."""
        if 'img' not in results:
            return super().transform(results)
        image = results['img']
        if image.ndim == 3 and image.shape[2] == 3:
            results['img'] = bgr2gray(image)
        return results
