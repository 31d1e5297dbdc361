"""Data sets that mmpretrain and mmseg lack, and the split of a data set."""

from .canvases import Canvases
from .digits import Digits
from .fashion import Fashion40, FashionMNIST
from .flowers import Flowers102
from .gray import LoadGrayImage
from .image_folder import ImageFolder
from .mask_folder import MaskFolder
from .split import split_dataset

__all__ = [
    'Canvases',
    'Digits',
    'Fashion40',
    'FashionMNIST',
    'Flowers102',
    'ImageFolder',
    'LoadGrayImage',
    'MaskFolder',
    'split_dataset',
]
