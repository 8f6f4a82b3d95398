"""Packaging: everything is read from settings.ini, the one place for names, versions and dependencies."""
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

SHIPPED = [Path("Snakefile"), *sorted(Path("nbs/experiments").glob("*.ipynb"))] # what the commands execute
READ = [Path("config/schema.yaml"), Path("environment.yml")] # what the Snakefile reads, each where it lies


class BuildWithNotebooks(build_py):
    "Puts the Snakefile and the notebooks into the package, since an installed one has no repository around it."
    def run(self):
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib)/"dd_lnl"/"notebooks"
        folder.mkdir(parents=True, exist_ok=True)
        for path in SHIPPED:
            shutil.copy(path, folder)
        for path in READ:
            (folder/path).parent.mkdir(exist_ok=True)
            shutil.copy(path, folder/path)

    def get_source_files(self):
        return [*super().get_source_files(), "settings.ini", *map(str, READ + SHIPPED)]


cfg = ConfigParser(delimiters=["="])
cfg.read("settings.ini")
cfg = cfg["DEFAULT"]
extras = [name for name in cfg if name.endswith("_requirements")]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license="Apache-2.0",
    keywords=cfg["keywords"].split(),
    classifiers=["Intended Audience :: Science/Research", "Programming Language :: Python :: 3"],
    packages=find_packages(include=["dd_lnl", "dd_lnl.*"]),
    cmdclass={"build_py": BuildWithNotebooks},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={name.removesuffix("_requirements"): cfg[name].split() for name in extras},
    entry_points={"console_scripts": cfg["console_scripts"].split()},
)
