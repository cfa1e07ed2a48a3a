"""Training with batches of any size, Flax and Optax: one compilation of sod2.jit against jax.jit, which compiles for each shape.

    python examples/training.py            # encoder of BERT-base width, 4 layers, and ResNet-50: minutes, most of them jax.jit's
    python examples/training.py --small    # tiny models: a minute

Each step draws a batch size and a length (or a picture's size). Parameters, statistics and the optimizer's state are donated: the
new ones lie where the old ones were.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import optax
from zoo import encoder, resnet

import sod2jax as sod2
from sod2jax.bench.report import Report, save
from sod2jax.bench.timing import timed, use_threads

TOLERANCE = 1e-4  # relative, of each loss
COLUMNS = {
    "model": "model",
    "steps": "steps",
    "shapes": "shapes",
    "compilations": "compilations",
    "all steps\ns": "seconds",
    "jax.jit\ns": "jax_seconds",
    "median step\nratio": "steady_ratio",
    "largest loss\ndifference": "difference",
    "peak temp.\nMB": "peak_mb",
    "jax.jit\nMB": "jax_peak_mb",
}


@dataclass
class Task:
    """`step(state, *batch) -> (state, loss)`; `state` is a pytree that is donated."""

    name: str
    step: Callable
    state: object
    shapes: tuple[str, ...]  # of the batch's arrays
    batch: Callable[[np.random.Generator], tuple]  # arrays of a random size


def train_step(optimizer, loss, state, *batch):
    """One step of gradient descent. `loss(parameters, statistics, *batch) -> (loss, statistics)`."""
    parameters, statistics, moments = state
    (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, statistics, *batch)
    updates, moments = optimizer.update(gradient, moments, parameters)
    return (optax.apply_updates(parameters, updates), statistics, moments), value


def language(small: bool) -> Task:
    """The encoder predicts a class for each token."""
    model, variables = encoder.build(small)
    classes = 16

    def loss(parameters, statistics, tokens, labels):
        logits = model.apply(parameters["encoder"], tokens) @ parameters["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), statistics

    parameters = {"encoder": variables, "head": 0.02 * jax.random.normal(jax.random.key(0), (model.width, classes))}
    optimizer = optax.adamw(1e-4)

    def batch(rng):
        size = (int(rng.choice([2, 3, 4])), int(rng.choice([17, 32, 48, 64])))
        tokens = rng.integers(0, model.vocabulary, size, dtype=np.int32)
        return tokens, tokens % classes

    return Task(
        "encoder", partial(train_step, optimizer, loss), (parameters, {}, optimizer.init(parameters)), ("b, s", "b, s"), batch
    )  # fmt: skip


def vision(small: bool) -> Task:
    """ResNet classifies pictures; its batch norms keep statistics."""
    model, variables = resnet.build(small, train=True)

    def loss(parameters, statistics, images, labels):
        logits, changed = model.apply({"params": parameters, "batch_stats": statistics}, images, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed["batch_stats"]

    parameters, statistics = variables["params"], variables["batch_stats"]
    # At a higher rate, two trainings of a random network part ways that differ in nothing but rounding.
    optimizer = optax.sgd(1e-4, momentum=0.9)

    def batch(rng):
        b, h, w = int(rng.choice([2, 3, 4])), int(rng.choice([64, 80])), int(rng.choice([64, 97]))
        return rng.standard_normal((b, h, w, 3), dtype=np.float32), rng.integers(0, model.classes, b, dtype=np.int32)

    state = parameters, statistics, optimizer.init(parameters)
    return Task("resnet", partial(train_step, optimizer, loss), state, ("b, h, w, 3", "b"), batch)


def train(task: Task, steps: int, report: Report) -> dict:
    """Trains twice, in turn, on the same batches."""
    ours = sod2.jit(task.step, shapes=(None, *task.shapes), donate_argnums=0)
    exact = jax.jit(task.step, donate_argnums=0)
    rng = np.random.default_rng(0)
    copy = partial(jax.tree.map, lambda x: jnp.array(x, copy=True))
    state, exact_state = copy(task.state), copy(task.state)
    losses, seconds, seen, first = [], [], {}, []
    for _ in report.progress(range(steps), task.name):
        batch = task.batch(rng)
        known = tuple(x.shape for x in batch) in seen
        seen[tuple(x.shape for x in batch)] = batch
        taken, (state, loss) = timed(ours, state, *batch)
        exact_taken, (exact_state, exact_loss) = timed(exact, exact_state, *batch)
        losses.append((float(loss), float(exact_loss)))
        seconds.append((taken, exact_taken))
        if known:
            first.append(taken / exact_taken)
    compiled = ours.lower(state, *batch).compile()
    sizes = [dict(zip(("b", "s") if task.name == "encoder" else ("b", "h", "w"), batch[0].shape)) for batch in seen.values()]
    peaks = [exact.lower(exact_state, *batch).compile().memory_analysis().temp_size_in_bytes for batch in seen.values()]
    return {
        "model": task.name,
        "steps": steps,
        "shapes": len(seen),
        "compilations": ours.cache_info().compiles,
        "seconds": sum(a for a, _ in seconds),
        "jax_seconds": sum(b for _, b in seconds),
        "steady_ratio": median(first) if first else float("nan"),
        "difference": max(abs(a - b) / abs(b) for a, b in losses),
        "peak_mb": max(compiled.memory_analysis(**size).temp_size_in_bytes for size in sizes) / 1e6,
        "jax_peak_mb": max(peaks) / 1e6,
        "first_loss": losses[0][0],
        "last_loss": losses[-1][0],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny models")
    parser.add_argument("--steps", type=int, default=50, help="of each model (default 50)")
    parser.add_argument("--only", choices=("encoder", "resnet"), help="one of the models")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    args = parser.parse_args()

    use_threads(2)
    report = Report()
    tasks = {"encoder": language, "resnet": vision}
    rows = [train(make(args.small), args.steps, report) for name, make in tasks.items() if args.only in (None, name)]
    report.table("Training, batches of many sizes", rows, COLUMNS)
    report.say("ratio: time of sod2.jit over that of jax.jit in the same step, where the shape was known to both")
    save(rows, args.json)
    return 0 if all(row["compilations"] == 1 and row["difference"] <= TOLERANCE for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
