"""The four stages as functions: each opens its run directory, calls the library below it and returns the directory.

This is the public Python API, equal to the commands; `pipeline` runs the same functions in parallel for a recipe.
"""

from __future__ import annotations
