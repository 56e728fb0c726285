"""Recipes of preprocessing: by name, from a TOML file, or written out.

A recipe is a text of words ``key=value``, perhaps after the name of a published one. Reading its
own text back gives the same recipe, so that a report that has the text needs no file.
"""

from __future__ import annotations

from snn_compile.recipes.audio import AudioRecipe
from snn_compile.recipes.parsing import read_recipe
from snn_compile.recipes.recipe import INTERPOLATIONS, Recipe

__all__ = ["INTERPOLATIONS", "AudioRecipe", "Recipe", "read_recipe"]
