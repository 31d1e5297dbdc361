"""Gray images from files, arrays in colours and arrays in gray."""

import cv2
import numpy as np
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS


def test_wherever_it_comes_from_an_image_is_gray(tmp_path):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        load = TRANSFORMS.build(dict(type='eavit_mm.LoadGrayImage'))
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = str(tmp_path / 'image.png')
    cv2.imwrite(path, colours)
    gray = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    for given in (
        dict(img_path=path),
        dict(img=colours, off=1),
        dict(img=np.dstack([gray] * 3)),  # a gray file, read in colours
        dict(img=gray),
    ):
        # cv2's formats round colours in ways of their own.
        found = load(given)['img']
        np.testing.assert_allclose(
            found.astype(int),
            gray.astype(int),
            rtol=0,
            atol=given.get('off', 0),
        )
    thin = load(dict(img=gray[..., None]))['img']
    np.testing.assert_array_equal(thin, gray[..., None])
