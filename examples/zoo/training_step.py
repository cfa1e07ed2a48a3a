"""A training step of a sentence classifier, Flax Linen and Optax: AdamW with clipped gradients and a schedule of the rate.

The classifier is the zoo's encoder in the size of BERT-small (4 layers of width 512, 28.5 million parameters), the mean over its
tokens, and a dense layer. Dynamic: the batch, and the length of the sentences. A step gives the loss, new weights, new moments.

Adam divides a gradient by its own magnitude. At the first step, where the moments are zero, mere rounding would decide between -1
and 1 where a gradient ought to be zero; so this step is one amid a training, with the moments of earlier gradients.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sod2jax import bench
from zoo.encoder import Encoder
from zoo.layers.transformer import sentences
from zoo.layers.weights import random_weights

OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(optax.warmup_cosine_decay_schedule(0.0, peak_value=1e-3, warmup_steps=100, decay_steps=10_000)),
)
STEPS = 5_000  # that the training has behind it


class Classifier(nn.Module):
    encoder: Encoder
    classes: int

    @nn.compact
    def __call__(self, tokens, mask):
        """tokens i32[b, s], mask bool[b, s], False where a token is padding -> logits f32[b, classes]"""
        x = self.encoder(tokens, mask[:, None, None, :])
        return nn.Dense(self.classes)(jnp.mean(x, axis=1, where=mask[:, :, None]))


def step(model: Classifier, state, tokens, mask, labels):
    """state: (weights, state of the optimizer) -> (loss, new state)"""
    weights, moments = state

    def loss(weights):
        logits = model.apply(weights, tokens, mask)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradients = jax.value_and_grad(loss)(weights)
    updates, moments = OPTIMIZER.update(gradients, moments, weights)
    return value, (optax.apply_updates(weights, updates), moments)


def random_training(model: Classifier, typical: float = 1e-3, seed: int = 0):
    """(weights, state of the optimizer) as after some steps with gradients of a typical magnitude."""
    rng = np.random.default_rng(seed)
    example = jax.ShapeDtypeStruct((1, 8), jnp.int32), jax.ShapeDtypeStruct((1, 8), bool)
    weights = random_weights(model, *example, seed=seed)
    mean = jax.tree.map(lambda x: typical * rng.standard_normal(x.shape, dtype=np.float32), weights)
    square = jax.tree.map(lambda x: x * x + np.float32(typical**2), mean)
    moments = optax.tree.set(jax.eval_shape(OPTIMIZER.init, weights), count=np.int32(STEPS), mu=mean, nu=square)
    return weights, jax.tree.map(jnp.asarray, moments)


def workload(small: bool = False) -> bench.Workload:
    sizes = {"layers": 1, "width": 32, "heads": 4, "vocabulary": 200} if small else {"layers": 4, "width": 512, "heads": 8}
    model = Classifier(Encoder(**sizes), classes=4)
    longest = 32 if small else 256

    steady = [{"b": 4, "s": longest // 8}, {"b": 8, "s": longest // 2}, {"b": 4, "s": longest}]

    def inputs(rng, b, s):
        return *sentences(rng, model.encoder.vocabulary, b, s), rng.integers(0, model.classes, b, dtype=np.int32)

    return bench.Workload(
        name="training step",
        fun=lambda state, *batch: step(model, state, *batch),
        params=lambda: random_training(model),
        inputs=inputs,
        shapes=("b, s", "b, s", "b"),
        constraints=("1 <= b <= 32", f"1 <= s <= {longest}"),
        steady=steady,
        trace=steady if small else bench.sample(12, b=(4, 8), s=bench.lognormal(longest / 4, 0.6, 8, longest)),
    )
