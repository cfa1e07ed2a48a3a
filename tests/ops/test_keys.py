"""Arrays of typed keys are moved as arrays are, with their words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2

MOVES = {
    "index": lambda k: k[0],
    "slice": lambda k: k[1:3],
    "strides": lambda k: k[::2],
    "reshape": lambda k: k.reshape(k.size),
    "transpose": lambda k: k.T,
    "squeeze": lambda k: jnp.squeeze(k[None], 0),
    "expand": lambda k: jnp.expand_dims(k, 1),
    "concatenate": lambda k: jnp.concatenate([k, k[:1]]),
    "stack": lambda k: jnp.stack([k, k]),
    "split": lambda k: jnp.split(k, [1]),
    "broadcast": lambda k: jnp.broadcast_to(k, (2, *k.shape)),
    "tile": lambda k: jnp.tile(k, 2),
    "repeat": lambda k: jnp.repeat(k, 2),
    "flip": jnp.flip,
    "roll": lambda k: jnp.roll(k, 1, 0),
    "copy": jnp.copy,
    "where": lambda k: jnp.where(jnp.arange(k.shape[1]) > 0, k, k[0, 0]),
    "take": lambda k: k[jnp.array([1, 0, 2])],
    "gather of scalars": lambda k: k[jnp.array([1, 2]), jnp.array([0, 1])],
    "dynamic index": lambda k: lax.dynamic_index_in_dim(k, jnp.argmax(jnp.arange(k.shape[0])) // 2),
    "update": lambda k: lax.dynamic_update_slice(k, k[:1], (1, 0)),
    "set": lambda k: k.at[1].set(k[0]),
    "equal": lambda k: (k == k[0], k != k[0]),
    "vmap": lambda k: jax.vmap(jax.vmap(lambda one: jax.random.fold_in(one, 1)))(k),
    "clone": jax.random.clone,
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_moves(move):
    def moved(words):
        made = move(jax.random.wrap_key_data(words, impl="rbg"))
        return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, made)

    compiled = sod2.jit(moved, shapes="a, b, _")
    for a, b in ((4, 3), (3, 2), (5, 5)):
        words = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(a, impl="rbg"), (a, b))))
        jax.tree.map(np.testing.assert_array_equal, compiled(words), jax.jit(moved)(words))
    assert compiled.cache_info().compiles == 1
