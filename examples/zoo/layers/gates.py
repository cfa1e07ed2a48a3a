"""Blocks that a gate, which looks at the input, may close: a closed one is not computed at all."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn


def run_if(is_open, block: nn.Module, x, shortcut, *masks, closed: Callable = lambda shortcut: shortcut):
    """`block(x, shortcut, *masks)` if the gate is open, else `closed(shortcut)`; `is_open` is a boolean scalar of the graph."""
    if block.is_initializing():  # makes the parameters of a block, whatever its gate says
        return block(x, shortcut, *masks)
    run = lambda block, x, shortcut, *masks: block(x, shortcut, *masks)
    return nn.cond(is_open, run, lambda block, x, shortcut, *masks: closed(shortcut), block, x, shortcut, *masks)
