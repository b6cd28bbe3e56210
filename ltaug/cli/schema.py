"""`ltaug schema`: what a recipe may hold, for editors."""

from __future__ import annotations

import json

import click

from ltaug.cli.options import SectionCommand
from ltaug.schema import recipe_schema


@click.command("schema", cls=SectionCommand)
def schema() -> None:
    """Print the JSON Schema of recipes, for editors that complete and check TOML.

    \b
    ltaug schema > recipe.schema.json

    With `#:schema recipe.schema.json` as a recipe's first line, editors with Taplo, such as VS Code with Even Better TOML,
    offer keys and values, explain them and mark what is misspelt.
    """
    click.echo(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))
