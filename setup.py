"""Packaging of eavit_mm: a plugin of OpenMMLab, installable with pip."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# What mim looks for inside the installed package, as mmpretrain ships it, and
# the pages that messages name.
MIM_FILES = ('tools', 'configs', 'docs', 'model-index.yml')


def requirements(name: str) -> list[str]:
    """Lines of requirements/<name>.txt."""
    text = (ROOT / 'requirements' / f'{name}.txt').read_text()
    lines = (line.partition('#')[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


class BuildWithMim(build_py):
    """Adds eavit_mm/.mim: links in an editable install, copies in a wheel.

    Copies are made in the build folder alone, of what MANIFEST.in lets into
    the sdist as well, and nothing of an earlier build is left there.
    """

    def run(self) -> None:
        """Builds the package, then adds the folder."""
        base = ROOT if self.editable_mode else Path(self.build_lib)
        folder = base / 'eavit_mm' / '.mim'
        old = folder if self.editable_mode else folder.parent
        shutil.rmtree(old, ignore_errors=True)
        super().run()
        folder.mkdir(parents=True, exist_ok=True)
        if self.editable_mode:
            for name in MIM_FILES:
                (folder / name).symlink_to(Path('..', '..', name))
            return
        self.run_command('egg_info')
        for name in self.get_finalized_command('egg_info').filelist.files:
            if Path(name).parts[0] in MIM_FILES:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)


def description() -> str:
    """What the README says to those who have the package alone.

    No package index has the files that it links to, nor a Makefile.
    """
    text = (ROOT / 'README.md').read_text()
    intro, (works, *_) = text.split('\n!')[0], text.split('\n## ')[1:]
    use = (
        '`python -m eavit_mm` lists its tools, `python -m eavit_mm TOOL '
        '--help` says what each does; mim finds them and the configs.'
    )
    # The first cells of its table; the second are links.
    cells = re.findall(r'(?m)^\| (\w[^|]+) \|', works)
    return '\n'.join([intro, use, '', *(f'- {cell}' for cell in cells), ''])


def version() -> str:
    """The version, read without importing the package."""
    scope: dict[str, str] = {}
    exec((ROOT / 'eavit_mm' / 'version.py').read_text(), scope)
    return scope['__version__']


if __name__ == '__main__':
    setup(
        name='eavit_mm',
        version=version(),
        description='Elastic Vision Transformers (EA-ViT) for OpenMMLab',
        long_description=description(),
        long_description_content_type='text/markdown',
        author='The eavit_mm authors',
        license='Apache-2.0',
        license_files=['LICENSE'],
        keywords='vision transformer, elastic, pruning, OpenMMLab',
        project_urls={'Paper': 'https://arxiv.org/abs/2507.19360'},
        classifiers=[
            'Development Status :: 3 - Alpha',
            'Intended Audience :: Developers',
            'Intended Audience :: Science/Research',
            'Operating System :: POSIX :: Linux',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
            'Programming Language :: Python :: 3.13',
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
            'Topic :: Scientific/Engineering :: Image Recognition',
            'Typing :: Typed',
        ],
        packages=find_packages(include=['eavit_mm', 'eavit_mm.*']),
        package_data={
            'eavit_mm': [
                *('py.typed', 'analysis/*.j2', 'datasets/published.csv'),
            ]
        },
        cmdclass={'build_py': BuildWithMim},
        entry_points={'console_scripts': ['eavit_mm=eavit_mm.__main__:main']},
        python_requires='>=3.11,<3.14',
        install_requires=requirements('runtime'),
        extras_require={
            'lite': requirements('mmcv_lite'),
            'export': requirements('export'),
            'tests': requirements('tests'),
        },
        zip_safe=False,
    )
