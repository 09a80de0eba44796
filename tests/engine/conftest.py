"""Loads the BLAS before any test module imports mlx."""

from semantic_actors.engine import blas

blas.preload()
