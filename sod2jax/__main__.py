"""`python -m sod2jax` is the command `sod2`."""

from sod2jax.cli import main

raise SystemExit(main())
