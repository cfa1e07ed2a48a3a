"""SoD2's operator classes per eqn, in context.

* The class of a primitive (`OpDef.dyn`) says what its output depends on when nothing is known of its operands. An operand whose
  value is itself a function of shapes moves the eqn down, toward ISDO: that is most of the analysis' power.
* EDO becomes ISVDOS when the operand that picks the path is shape-determined: the path is then known before anything runs.
* ISVDOS becomes ISDOS when the operands that its output's shape depends on (`OpDef.sizes`, else all) are.
* ISDOS becomes ISDO when all operands are, and the eqn has no effect: it can be computed once per shape, or folded.
* A variable is shape-determined if an ISDO eqn makes it, if it is a constant, or if the value map knows each of its elements.
"""

from __future__ import annotations

from collections.abc import Callable

from sod2jax.ops._base import Dyn, OpDef

DOWN = {Dyn.EDO: Dyn.ISVDOS, Dyn.ISVDOS: Dyn.ISDOS, Dyn.ISDOS: Dyn.ISDO}


def classify(jaxpr, of: Callable[[object], OpDef | None], known: Callable[[object], bool]) -> tuple[tuple[Dyn, ...], frozenset]:
    """The class of each eqn, and the variables whose value is a function of shapes alone.

    `known(var)`: whether the value map knows every element. A primitive without a record counts as EDO.
    """
    determined = set(jaxpr.constvars)
    classes = []
    for eqn in jaxpr.eqns:
        settled = [hasattr(v, "val") or v in determined or known(v) for v in eqn.invars]
        klass = class_of(eqn, of(eqn.primitive), settled)
        if klass is Dyn.ISDO:
            determined.update(eqn.outvars)
        else:
            determined.update(v for v in eqn.outvars if known(v))
        classes.append(klass)
    return tuple(classes), frozenset(determined)


def class_of(eqn, record: OpDef | None, settled: list[bool]) -> Dyn:
    """The class of one eqn, given which of its operands are shape-determined."""
    klass = record.dyn if record is not None else Dyn.EDO
    if record is None or eqn.effects:
        return klass
    if klass is Dyn.EDO and settled[:1] == [True]:
        klass = DOWN[klass]
    sizes = getattr(record, "sizes", ()) or range(len(settled))
    if klass is Dyn.ISVDOS and all(settled[k] for k in sizes):
        klass = DOWN[klass]
    if klass is Dyn.ISDOS and all(settled):
        klass = DOWN[klass]
    return klass
