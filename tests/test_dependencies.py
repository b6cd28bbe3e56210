"""What pyproject.toml declares is what ltaug imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = {"ltaug", "_typeshed"}  # the latter is the type checker's own


def packages_imported_by(folder):
    """Names of the third-party packages, wherever in a module the import stands."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - OWN


def normalized(distribution):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", distribution)[0]).lower()


def test_ltaug_declares_every_package_that_it_imports_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ("inception", "hf", "parquet", "diffusers", "dask", "wandb", "mlflow", "trackio")
    optional = [text for extra in extras for text in project["optional-dependencies"][extra]]
    declared = {normalized(text) for text in project["dependencies"] + optional}
    installed = packages_distributions()
    imported = {normalized(installed.get(name, [name])[0]) for name in packages_imported_by(ROOT / "ltaug")}
    assert imported == declared
