"""A workload that takes milliseconds, with a mask among its inputs, and ones that go wrong: for the tests of the engines."""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from sod2jax import bench

SIZES = [{"b": 1, "s": 9}, {"b": 2, "s": 33}, {"b": 3, "s": 48}]


def masked_mean(params, x, mask):
    y = jnp.where(mask, jax.nn.softmax(jnp.tanh(x @ params["w"])), 0)
    return {"each": y, "mean": y.sum(1) / mask.sum(1)}


def inputs(rng, b, s):
    return rng.standard_normal((b, s, 8), dtype=np.float32), np.ones((b, s, 1), bool)


def bad_inputs(rng, b, s):
    if s == 33:
        raise KeyError("no such picture")
    return inputs(rng, b, s)


def aborting(params, x, mask):
    jax.debug.callback(os.abort)
    return x


def slow(params, x, mask):
    return jax.pure_callback(lambda a: (time.sleep(60 * (a.shape[1] == 33)), np.asarray(a))[1], x, x)


def raising(params, x, mask):
    return x.reshape(7, x.shape[1])


def unpadded(params, x, mask):
    return x.sum(1), x.mean(1)


def big(params, x, mask):
    return jnp.zeros((1 << 23,), np.float32) + x.sum()


def make(name, **changes):
    given = {
        "name": name,
        "fun": masked_mean,
        "params": lambda: {"w": np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)},
        "inputs": inputs,
        "shapes": ("b, s, 8", "b, s, 1"),
        "constraints": ("1 <= b <= 8", "1 <= s <= 48", "s % 3 == 0"),
        "steady": SIZES[:2],
        "trace": SIZES,
    }
    return bench.Workload(**(given | changes))


def workload():
    return [
        make("tiny"),
        make("bad inputs", inputs=bad_inputs),
        *(make(fun.__name__, fun=fun) for fun in (aborting, slow, raising, unpadded, big)),
    ]
