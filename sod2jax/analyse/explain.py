"""Reports for people: what the compiler found out about a function, and what it will do at run time.

* A report is titled sections of lines. `str(report)` is for terminals, `report.html()` one page without references to elsewhere.
* `explain(facts, program)` tells the sizes and their bounds, guards, operator classes, values that shapes determine, equalities
  that the program demands, and of the Program its steps and the formula of its memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from sod2jax.analyse.liveness import Life, peak
from sod2jax.ir.expr import Expr, const
from sod2jax.ir.facts import Facts, beyond_ranges, ranges
from sod2jax.ir.program import AnyStep, Branch, HostCall, Loop, Program, Step, blocks, walk
from sod2jax.ir.text import host_text, island_texts
from sod2jax.ops._base import Dyn

MOST = 12  # lines that a section shows of a long list

WORDS = {  # of the kinds of slots
    "input": "inputs",
    "output": "outputs",
    "arena": "temporary memory (arena)",
    "constant": "constants",
    "cached": "prepared weights",
}
STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "pre{background:#8881;padding:.7rem;overflow-x:auto}h2{font-size:1.05rem;margin-bottom:.2rem}"
)


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What `f.explain(*args)` gives: printable, and as a page by `html()`."""

    title: str
    sections: tuple[Section, ...]

    def __str__(self):
        parts = [self.title, "=" * len(self.title)]
        for section in self.sections:
            parts += ["", section.title, *(f"  {line}" for line in section.lines)]
        return "\n".join(parts)

    __repr__ = __str__

    def html(self) -> str:
        """One offline page."""
        body = "".join(f"<h2>{escape(s.title)}</h2><pre>{escape(chr(10).join(s.lines))}</pre>" for s in self.sections)
        title = escape(self.title)
        return f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>{body}\n'


def explain(facts: Facts, program: Program | None = None, *, name: str = "", sizes: Mapping[str, int] | None = None) -> Report:
    """The report of one compiled function; `sizes` (symbol -> size) evaluates its formulas for one call."""
    name = name or (program.name if program is not None else "a function")
    sections = [("Sizes", _sizes(facts, program)), ("Guards", _guards(program)), ("Operators by class", _classes(facts))]
    sections += [("Known from shapes alone", _values(facts)), ("Equalities that the program demands", _constraints(facts))]
    if program is not None:
        sections += [("Plan", _plan(program)), ("Computed by XLA", shortened(island_texts(program)))]
        sections += [("Memory", _memory(program, sizes))]
    return Report(f"sod2jax: {name}", tuple(Section(title, tuple(lines)) for title, lines in sections if lines))


def _sizes(facts: Facts, program: Program | None) -> list[str]:
    sources = {s.name: f"{program.inputs[s.input].path} axis {s.axis}" for s in program.symbols} if program is not None else {}
    lines = []
    for name, (low, high) in ranges(facts.box).items():
        bounds = f"{'any' if low is None else low}..{'' if high is None else high}"
        lines.append(f"{name} in {bounds}" + (f", from {sources[name]}" if name in sources else ""))
    return lines + [f"given: {fact}" for fact in beyond_ranges(facts.box)]


def _guards(program: Program | None) -> list[str]:
    if program is None:
        return []
    return [f"{g.kind}: {g.cond}" + (f"   {g.where}" if g.where else "") for g in program.guards]


def _classes(facts: Facts) -> list[str]:
    counts = Counter(facts.classes)
    lines = [f"{counts[klass]:5}  {klass.name:6}  {klass.value}" for klass in Dyn if counts[klass]]
    late = [n for n, klass in enumerate(facts.classes) if klass is Dyn.EDO]
    names = [f"{facts.jaxpr.eqns[n].primitive.name} is known only when it has run   {facts.where(n)}" for n in late]
    return lines + shortened(names)


def _values(facts: Facts) -> list[str]:
    """Expressions only: constants are no news."""
    lines = []
    for eqn in facts.jaxpr.eqns:
        for v in eqn.outvars:
            known = facts.values.get(v)
            if known is not None and any(e is not None and e.value is None for e in known.elements.flat):
                lines.append(f"{eqn.primitive.name} = {known}")
    return shortened(list(dict.fromkeys(lines)))


def _constraints(facts: Facts) -> list[str]:
    names = [facts.jaxpr.eqns[c.eqn].primitive.name for c in facts.constraints]
    return [f"{c.cond}   by {name} {facts.where(c.eqn)}".rstrip() for c, name in zip(facts.constraints, names, strict=True)]


def _plan(program: Program) -> list[str]:
    prepared = sum(isinstance(step, Step) and bool(step.prepare) for step in program.steps)
    kernels = {step.kernel for step in walk(program.steps) if isinstance(step, Step)}
    lines = [f"{len(program.steps) - prepared} steps per call and {prepared} when weights change, of {len(kernels)} kernels"]
    steps = []
    for (depth, words), run in groupby(_described(program, program.steps, 0), key=lambda x: x[1:]):
        first, *more = (n for n, _, _ in run)
        steps.append(f"{f'{first}-{more[-1]}' if more else first:>7}  {'  ' * depth}{words}")
    return lines + shortened(steps, 40)


def _described(program: Program, steps: Sequence[AnyStep], at: int, depth: int = 0) -> Iterator[tuple[int, int, str]]:
    """(position, how deep it is nested, words) of each step."""
    for step in steps:
        yield at, depth, _words(program, step)
        at += 1
        for block in blocks(step):
            yield from _described(program, block, at, depth + 1)
            at += sum(1 for _ in walk(block))


def _words(program: Program, step: AnyStep) -> str:
    match step:
        case Step():
            return step.source or program.kernels[step.kernel].name
        case HostCall():
            return f"host call {host_text(program.hosts[step.host])}"
        case Branch():
            return f"branch of {len(step.branches)}"
        case Loop():
            return f"loop x {step.length}" if step.length is not None else "loop while its condition holds"
    raise TypeError(f"{step!r} is no step of a Program")


def _memory(program: Program, sizes: Mapping[str, int] | None) -> list[str]:
    kinds: dict[str, Expr] = {}
    for slot in program.slots:
        kinds[slot.kind] = kinds.get(slot.kind, const(0)) + slot.nbytes
    if program.arena is not None:
        kinds["arena"] = program.arena
    lines = []
    for kind, word in WORDS.items():
        if kind in kinds:
            at = f" = {kinds[kind].eval(dict(sizes)):,}" if sizes is not None and kinds[kind].free <= sizes.keys() else ""
            lines.append(f"{word}: {kinds[kind]}{at} bytes")
    if sizes is not None:
        arena = {i: Life(s.first, s.last) for i, s in enumerate(program.slots) if s.kind == "arena"}
        bound, step = peak(arena, lambda i: program.slots[i].nbytes.eval(dict(sizes)))
        lines.append(f"most that is alive at once, here at step {step}: {bound:,} bytes")
    return lines


def shortened(lines: list[str], most: int = MOST) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]
