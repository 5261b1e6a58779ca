"""Simulated chest films with infected areas, look-alikes and decorations."""

from __future__ import annotations

from napari_clipmed.phantoms.cxr.decorations import StyleRanges, load_style_ranges
from napari_clipmed.phantoms.cxr.film import Film, FilmRecipe, draw_film
from napari_clipmed.phantoms.cxr.writer import sample_film, write_cxr_phantoms

__all__ = [
    "Film",
    "FilmRecipe",
    "StyleRanges",
    "draw_film",
    "load_style_ranges",
    "sample_film",
    "write_cxr_phantoms",
]
