"""Packaging of eavit_mm: a plugin of OpenMMLab, installable with mim."""

import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# What mim looks for inside the installed package, as mmpretrain ships it.
MIM_FILES = ('tools', 'configs', 'model-index.yml')


def requirements(name: str) -> list[str]:
    """Lines of requirements/<name>.txt."""
    text = (ROOT / 'requirements' / f'{name}.txt').read_text()
    return [line for line in text.splitlines() if line.strip()]


def add_mim_extension() -> None:
    """Puts links (editable install) or copies into eavit_mm/.mim."""
    editable = any(arg in ('develop', 'editable_wheel') for arg in sys.argv)
    folder = ROOT / 'eavit_mm' / '.mim'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in MIM_FILES:
        source, target = ROOT / name, folder / name
        if not source.exists():
            continue
        if editable:
            target.symlink_to(Path('..', '..', name))
        elif source.is_dir():
            ignore = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)


def version() -> str:
    """The version, read without importing the package."""
    scope: dict[str, str] = {}
    exec((ROOT / 'eavit_mm' / 'version.py').read_text(), scope)
    return scope['__version__']


if __name__ == '__main__':
    add_mim_extension()
    setup(
        name='eavit_mm',
        version=version(),
        description='Elastic Vision Transformers (EA-ViT) for OpenMMLab',
        long_description=(ROOT / 'README.md').read_text(),
        long_description_content_type='text/markdown',
        author='The eavit_mm authors',
        license='Apache-2.0',
        license_files=['LICENSE'],
        keywords='vision transformer, elastic, pruning, OpenMMLab',
        project_urls={'Paper': 'https://arxiv.org/abs/2507.19360'},
        packages=find_packages(include=['eavit_mm', 'eavit_mm.*']),
        include_package_data=True,
        python_requires='>=3.11,<3.13',
        install_requires=requirements('runtime'),
        extras_require={
            'lite': requirements('mmcv_lite'),
            'export': requirements('export'),
            'tests': requirements('tests'),
        },
        zip_safe=False,
    )
