"""A prior of synthetic tasks: random generators of rows, none of which is an image."""

from lit_lul.data.prior.world import World, draw_world

__all__ = ["World", "draw_world"]
