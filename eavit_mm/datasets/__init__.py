"""Data sets that mmpretrain and mmseg lack, and the split of a data set."""

from .arrays import CIFAR10, CIFAR100, SVHN, MedMNIST
from .canvases import Canvases
from .digits import Digits
from .fashion import Fashion40, FashionMNIST
from .flowers import Flowers102
from .gray import LoadGrayImage
from .image_folder import ImageFolder
from .isic import ISIC
from .mask_folder import MaskFolder
from .split import split_dataset

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'ISIC',
    'SVHN',
    'Canvases',
    'Digits',
    'Fashion40',
    'FashionMNIST',
    'Flowers102',
    'ImageFolder',
    'LoadGrayImage',
    'MaskFolder',
    'MedMNIST',
    'split_dataset',
]
