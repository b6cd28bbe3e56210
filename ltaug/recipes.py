"""Recipes: one experiment in a TOML file, every key checked against the options it stands for."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltaug.errors import OptionError, nearest
from ltaug.fields import check, checked, known_of, read_of, shown
from ltaug.looks import require_seeds
from ltaug.options import NETWORK, STAGES, DatasetOptions, SynthesisOptions

FOLDERS = (Path(__file__).parent / "_recipes", Path(__file__).parents[1] / "recipes")  # in a wheel; in a checkout
ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*")
CONTROL = "resampled"  # the arm trained on real images drawn again; what other controls are called begins with it


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One thing that is compared: what it changes in each stage; without synthesis it trains on real images alone.

    `source` is the arm whose generator this one's starts from (`from` in its fit-generator table), None to start afresh.
    """

    name: str
    about: str
    tables: dict[str, dict[str, Any]]
    source: str | None = None

    @property
    def synthetic(self) -> bool:
        return "fit-generator" in self.tables or "synthesize" in self.tables


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment: a dataset, a number of seeds, shared tables and the arms; `evaluated`: every generator is measured."""

    name: str
    about: str
    seeds: int
    baseline: str
    dataset: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    arms: tuple[Arm, ...]
    evaluated: bool = False

    def evaluates(self, arm: Arm) -> bool:
        """Whether the arm's generator is measured: the recipe, or the arm, has an evaluate-generator table, if an empty one."""
        return arm.synthetic and (self.evaluated or "evaluate-generator" in arm.tables)

    def given(self, arm: Arm, stage: str) -> dict[str, Any]:
        """What the recipe says about `stage` in `arm`: the shared table under the arm's own.

        A shared option reaches only the arms that have a component that reads it (a sampler's, a term's of the objective), and
        one of the network only the arms that do not start from another one's.
        """
        shared, own = self.tables.get(stage, {}), arm.tables.get(stage, {})
        if stage == "fit-generator" and arm.source is not None:
            shared = {key: value for key, value in shared.items() if key not in NETWORK}
        return read_of(STAGES[stage], shared, beside=own) | own

    @property
    def baseline_training(self) -> dict[str, Any]:
        """What the recipe says about the baseline's classifiers. Judges start from the weights that these start from."""
        (baseline,) = (arm for arm in self.arms if arm.name == self.baseline)
        return self.given(baseline, "train-classifier")

    def controls(self) -> dict[str, str]:
        """Controls by the arms whose class counts they take: {first arm: name}, one for each training on each budget.

        A control is trained as the arms with synthetic images are, but in place of these on real images that are drawn again.
        That of the arms that are trained as the baseline is called CONTROL.
        """
        plain = self.baseline_training
        groups: list[tuple[dict[str, Any], str]] = []
        found: dict[str, str] = {}
        for arm in self.arms:
            training = self.given(arm, "train-classifier")
            group = (training, known_of(SynthesisOptions, self.given(arm, "synthesize"))["per_class_budget"])
            if arm.synthetic and group not in groups:
                groups.append(group)
                own = training != plain or CONTROL in found.values()
                found[arm.name] = f"{CONTROL}-{arm.name}" if own else CONTROL
        return found


def recipe_path(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships with ltaug.

    Raises:
        OptionError: neither exists.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    for folder in FOLDERS:
        shipped = folder / f"{path.stem}.toml"
        if shipped.is_file() and (path.suffix != ".toml" or path.parent.name in ("", "recipes")):
            return shipped
    shipped_names = nearest(path.stem, shipped_recipes())
    raise OptionError(f"no recipe {name!r}: give a .toml file that exists or a shipped name; {shipped_names}")


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with ltaug."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.toml")})


def read_recipe(path: Path) -> Recipe:
    """The experiment in a TOML file, every key checked.

    Raises:
        OptionError: not TOML, an unknown key or table (nearest name suggested), a value of the wrong type, no arms.
    """
    where = f"recipe {path.name}"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{where} is not valid TOML: {error}") from error
    arms_table = document.pop("arms", {})
    evaluated = "evaluate-generator" in document
    tables = {stage: document.pop(stage, {}) for stage in STAGES}
    if "from" in _table(tables["fit-generator"], where, "fit-generator"):
        raise OptionError(f"{where}, [fit-generator]: from is for single arms; write [arms.NAME.fit-generator] from = ...")
    about, seeds, baseline = document.pop("about", ""), document.pop("seeds", 1), document.pop("baseline", None)
    dataset_names = [f.name.replace("_", "-") for f in dataclasses.fields(DatasetOptions)]
    known = [*dataset_names, *STAGES, "about", "seeds", "baseline", "arms"]
    for key in document:
        if key not in known:
            raise OptionError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        raise OptionError(f"{where}: seeds = {seeds!r} must be a whole number of at least 1")
    require_seeds(seeds, f"{where}: seeds =")
    if not isinstance(arms_table, dict) or not arms_table:
        raise OptionError(f"{where} has no arms; add at least [arms.real]")
    arms = tuple(_read_arm(name, table, where) for name, table in arms_table.items())
    names = [arm.name for arm in arms]
    baseline = names[0] if baseline is None else baseline
    if baseline not in names:
        raise OptionError(f"{where}: baseline = {baseline!r} is not an arm; {nearest(str(baseline), names)}")
    _check_sources(arms, where)
    shared = {s: check(STAGES[s], _table(t, where, s), where=f"{where}, [{s}]") for s, t in tables.items()}
    dataset = check(DatasetOptions, document, where=where)
    named: dict[str, Any] = {"name": path.stem, "about": str(about), "seeds": seeds, "baseline": baseline}
    recipe = Recipe(**named, dataset=dataset, tables=shared, arms=arms, evaluated=evaluated)
    _require_used(recipe, where)
    return recipe


def _require_used(recipe: Recipe, where: str) -> None:
    """Refuse an option that nothing reads, in an arm or in all the arms that share it, and options that do not go together."""
    described = [stage for stage in ("fit-generator", "synthesize") if recipe.tables[stage]]
    if described and not any(arm.synthetic for arm in recipe.arms):
        raise OptionError(
            f"{where}: [{described[0]}] reaches no arm, as none has a generator; "
            'give one that should have its own table, such as [arms.cbdm] fit-generator = { objective = "cbdm" }'
        )
    for stage, cls in STAGES.items():
        given = {arm.name: recipe.given(arm, stage) for arm in recipe.arms if arm.synthetic or stage == "train-classifier"}
        for name, values in given.items():
            checked(cls, values, where=f"{where}, [arms.{name}.{stage}]")
        for key, value in recipe.tables[stage].items():
            if given and not any(key in values for values in given.values()):
                flag = key.replace("_", "-")
                raise OptionError(f"{where}, [{stage}]: no arm has a component that reads {flag} = {shown(value)}; leave it out")


def _table(value: Any, where: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{where}: {name} = {value!r} must be a table")
    return value


def _read_arm(name: str, table: Any, where: str) -> Arm:
    where = f"{where}, [arms.{name}]"
    if not ARM_NAME.fullmatch(name) or name == "judges":
        raise OptionError(f"{where}: {name!r} cannot be a directory; use letters, digits, spaces and . _ + - (and not 'judges')")
    if name.startswith(CONTROL):
        raise OptionError(f"{where}: names that begin with {CONTROL!r} are for the controls that ltaug adds; use another name")
    table = dict(_table(table, where, name))
    about = table.pop("about", "")
    for key in table:
        if key not in STAGES:
            raise OptionError(f"{where}: unknown key {key!r}; {nearest(key, [*STAGES, 'about'])}")
    fit = dict(_table(table.get("fit-generator", {}), where, "fit-generator"))
    source = fit.pop("from", None)
    if source is not None:
        if not isinstance(source, str):
            raise OptionError(f"{where}.fit-generator: from = {source!r} is not the name of an arm")
        table["fit-generator"] = fit
        for key in fit:
            if key.replace("-", "_") in NETWORK:
                remedy = f"comes from = {source!r}; set it in [arms.{source}]"
                raise OptionError(f"{where}.fit-generator: {key} describes the network, which {remedy}")
    tables = {s: check(STAGES[s], _table(t, where, s), where=f"{where}.{s}") for s, t in table.items()}
    return Arm(name=name, about=str(about), tables=tables, source=source)


def _check_sources(arms: Sequence[Arm], where: str) -> None:
    """Refuse an arm that starts from one that does not exist, has no generator, or leads back to itself."""
    generators = {arm.name: arm for arm in arms if arm.synthetic}
    for arm in arms:
        chain, source = [arm.name], arm.source
        while source is not None:
            at = f"{where}, [arms.{chain[-1]}].fit-generator: from = {source!r}"
            if source in chain:
                raise OptionError(f"{at} leads back to itself ({' from '.join([*chain, source])}); one arm must start afresh")
            if source not in generators:
                lacking = "has no generator" if any(source == a.name for a in arms) else "is not an arm"
                raise OptionError(f"{at} {lacking}; {nearest(source, generators)}")
            chain.append(source)
            source = generators[source].source
