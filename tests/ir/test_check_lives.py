"""Plans that destroy what is needed are refused: those that were once made, and right ones with one slot moved or cut short."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import sod2jax as sod2
from sod2jax.ir.check import ProgramError, check
from sod2jax.ir.program import Loop, Step, walk


def program(f, *arguments, **more):
    return sod2.jit(f, **more).lower(*arguments)._executable.program


def wrong(p, *words):
    with pytest.raises(ProgramError) as caught:
        check(p, samples=20)
    for word in words:
        assert word in str(caught.value)


def edited(p, n, **changes):
    return replace(p, slots=(*p.slots[:n], replace(p.slots[n], **changes), *p.slots[n + 1 :]))


def unread_state(x):
    """c[1] is written and never read; its memory is the next state's in every other iteration."""

    def body(k, c):
        e = lax.fori_loop(0, 3, lambda i, d: d + 1, c[2])
        return c[2], e, e

    return lax.fori_loop(0, 1 + (x[0] > -9).astype(int), body, (x, x, x))[2]  # a loop of constant length would drop the state


def two_temporaries(x):
    def body(i, c):
        s = jnp.sin(c[0]) + c[1] * i  # a counter that is read, and so has a place to check
        w = jnp.cos(s)
        return w + s, w * s

    return lax.fori_loop(0, 5, body, (x, x + 1))


def gathered(x):
    u = jnp.arange(x.shape[0]) // 2

    def body(i, a):
        e = a[u] + 1
        return a.at[u].set(e * a[u]).at[u].add(e)

    return lax.fori_loop(0, 3, body, x)


def several_loops(x):
    def body(i, c):
        y = jnp.cumsum(c[0]) * c[1]
        z = lax.while_loop(lambda d: d[0] < 3, lambda d: (d[0] + 1, jnp.cumsum(d[1][::-1]), d[1]), (i, y, c[1]))
        return z[1], c[0] + z[2]

    c, ys = lax.scan(lambda c, a: (body(1, c), c[0] * a), (x, x + 1), x)
    return c, ys, lax.cond(x.sum() > 0, lambda c: jnp.sort(c), lambda c: c, c[0])


ARGUMENT = np.linspace(-1, 1, 3000, dtype=np.float32)
PROGRAMS = (unread_state, two_temporaries, gathered, several_loops)


def test_the_memory_of_a_state_that_nobody_reads_is_its_loops():
    p = program(unread_state, ARGUMENT, shapes=("n",))
    order = list(walk(p.steps))
    at, loop = next((k, s) for k, s in enumerate(order) if isinstance(s, Loop))
    state, _ = next(pair for pair in loop.swaps if p.slots[pair[0]].shape)
    temporary = next(n for n, s in enumerate(p.slots) if s.kind == "arena" and at < s.first and n not in sum(loop.swaps, ()))
    wrong(edited(p, state, last=at), f"slot {state}")
    bad = edited(edited(p, state, last=at), temporary, offset=p.slots[state].offset)
    wrong(bad, "overlap", "which is needed afterwards")


def test_a_counter_lives_as_long_as_its_loop():
    p = program(unread_state, ARGUMENT[:7])
    at, loop = next((k, s) for k, s in enumerate(walk(p.steps)) if isinstance(s, Loop) and s.counter is not None)
    last = at + len(list(walk((loop,)))) - 1
    assert (p.slots[loop.counter].first, p.slots[loop.counter].last) == (at, last)
    wrong(edited(p, loop.counter, last=at), f"slot {loop.counter} counter")


@pytest.mark.parametrize("f", [two_temporaries, gathered])
def test_temporaries_of_one_kernel_lie_apart(f):
    p = program(f, ARGUMENT[:8])
    (step,) = (s for s in walk(p.steps) if isinstance(s, Step) and "kernels" in s.source)
    kernel = p.kernels[step.kernel]
    slots = [s for s, b in zip(step.slots, kernel.buffers) if p.slots[s].kind == "arena" and b.access == "w" and p.slots[s].shape]
    first, second = slots[:2]
    bad = edited(p, second, offset=p.slots[first].offset)
    wrong(bad, "overlap")
    # Nor does the kernel's word help: it is not true.
    names = {s: b.name for s, b in zip(step.slots, kernel.buffers)}
    lies = [replace(b, inplace=(names[first],)) if b.name == names[second] else b for b in kernel.buffers]
    kernels = [replace(k, buffers=tuple(lies)) if k is kernel else k for k in p.kernels]
    wrong(replace(bad, kernels=tuple(kernels)), "overlap")


@pytest.mark.parametrize("f", PROGRAMS)
@pytest.mark.parametrize("symbolic", [True, False])
def test_a_right_plan_with_one_slot_moved_is_refused(f, symbolic):
    """Onto each other slot that lives at the same time."""
    p = program(f, ARGUMENT if symbolic else ARGUMENT[:9], **({"shapes": ("n",)} if symbolic else {}))
    assert check(p, samples=20) == 20
    rng = np.random.default_rng(0)
    arena = [n for n, s in enumerate(p.slots) if s.kind == "arena"]
    pairs = [(n, m) for n in arena for m in arena if n != m and p.slots[n].offset is not p.slots[m].offset]
    meeting = [(n, m) for n, m in pairs if p.slots[n].first < p.slots[m].last and p.slots[m].first < p.slots[n].last]
    assert meeting
    for k in rng.permutation(len(meeting))[:12]:
        n, m = meeting[k]
        wrong(edited(p, n, offset=p.slots[m].offset), "overlap")


@pytest.mark.parametrize("f", PROGRAMS)
def test_a_life_that_is_cut_short_is_refused(f):
    p = program(f, ARGUMENT, shapes=("n",))
    for n, slot in enumerate(p.slots):
        if slot.kind == "arena" and slot.first < slot.last:
            wrong(edited(p, n, last=slot.first), f"slot {n}")
