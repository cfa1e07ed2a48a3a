"""Lines around matrix products: contractions, dense layers, convolutions, pooling."""

from __future__ import annotations

import numpy as np
from programs.terms import LARGE_SIZES, Builder, size

from sod2jax.ir.expr import floordiv


class Products(Builder):
    def op_dot(self):
        x = self.single(lambda t: 0 < len(t.shape) < 5)
        if x is None:
            return None
        y = self.single(lambda t: t.dtype == x.dtype and 0 < len(t.shape) < 5 and any(d in x.shape for d in t.shape))
        if y is None:
            return None
        batch, contract, free = [], [], set(range(len(y.shape)))
        for i, d in enumerate(x.shape):
            same = [j for j in sorted(free) if y.shape[j] == d]
            if same and self.chance(0.6):
                free.discard(j := self.one(same))
                (contract if self.chance(0.6) else batch).append((i, j))
        batch = self.shuffled(batch)
        shape = [x.shape[i] for i, _ in batch]
        shape += [d for i, d in enumerate(x.shape) if all(i != k for k, _ in batch + contract)]
        shape += [d for j, d in enumerate(y.shape) if all(j != k for _, k in batch + contract)]
        count = size([x.shape[i] for i, _ in contract]).eval(LARGE_SIZES)
        work = size(shape).eval(LARGE_SIZES) * count
        if work > 3e8:
            return None
        numbers = tuple(tuple([int(p[k]) for p in pairs] for k in (0, 1)) for pairs in (contract, batch))
        bound = x.bound * y.bound * (count if x.exact and y.exact else np.sqrt(count))
        return self.add(f"lax.dot_general({x.name}, {y.name}, {numbers})", [x, y], shape, x.dtype, bound)

    def op_dense(self):
        x = self.single(lambda t: t.shape and t.shape[-1].value not in (None, 0, 1))
        if x is None or len(self.inputs) > 6:
            return None
        k, n = x.shape[-1].value, self.one([1, 3, 16, 40])
        w = self.input((k, n), x.dtype, exact=self.chance(0.5))
        bound = x.bound * w.bound * (k if x.exact and w.exact else np.sqrt(k))
        return self.add(f"{x.name} @ {w.name}", [x, w], (*x.shape[:-1], n), x.dtype, bound)

    # -- windows

    def windowed(self):
        """A term of rank 3 or 4 with some channels, and how a window slides over it: (text of the arguments, spatial sizes)."""
        x = self.single(lambda t: t.dtype == "float32" and 3 <= len(t.shape) <= 4)
        if x is None:
            return None
        spatial = len(x.shape) - 2
        window = [self.one([1, 2, 3]) for _ in range(spatial)]
        strides = [self.one([1, 1, 2]) for _ in range(spatial)]
        holes = [self.one([1, 1, 1, 2]) for _ in range(spatial)]
        reach = [(w - 1) * h for w, h in zip(window, holes, strict=True)]
        pads = [(low := self.below(r + 1), r - low + self.below(2)) for r in reach]
        out = [floordiv(d + low + high - r - 1, s) + 1
               for d, (low, high), r, s in zip(x.shape[1:-1], pads, reach, strides, strict=True)]  # fmt: skip
        return x, window, strides, holes, pads, out

    def op_conv(self):
        drawn = self.windowed()
        if drawn is None or len(self.inputs) > 6:
            return None
        x, window, strides, holes, pads, out = drawn
        channels = x.shape[-1].value
        if channels is None or not 0 < channels <= 16 or (count := channels * int(np.prod(window))) > 200:
            return None
        groups = self.one([g for g in (1, 1, 2, 4, channels) if channels % g == 0])
        features = groups * self.one([1, 2, 8])
        w = self.input((*window, channels // groups, features), x.dtype, exact=self.chance(0.5))
        letters = "HW"[: len(window)]
        t = (f"lax.conv_general_dilated({x.name}, {w.name}, {strides}, {pads}, rhs_dilation={holes}, "
             f'feature_group_count={groups}, dimension_numbers=("N{letters}C", "{letters}IO", "N{letters}C"))')  # fmt: skip
        bound = x.bound * w.bound * (count if x.exact and w.exact else np.sqrt(count))
        return self.add(t, [x, w], (x.shape[0], *out, features), x.dtype, bound)

    def op_pool(self):
        drawn = self.windowed()
        if drawn is None:
            return None
        x, window, strides, holes, pads, out = drawn
        start, fold, bound = self.one([("-jnp.inf", "lax.max", x.bound), ("0.0", "lax.add", x.bound * np.prod(window))])
        if start != "0.0" and any(high for _, high in pads):
            return None  # a window of nothing but padding would give infinities
        t = (f"lax.reduce_window({x.name}, {start}, {fold}, {(1, *window, 1)}, {(1, *strides, 1)}, {[(0, 0), *pads, (0, 0)]}, "
             f"window_dilation={(1, *holes, 1)})")  # fmt: skip
        return self.add(t, [x], (x.shape[0], *out, x.shape[-1]), "float32", bound)
