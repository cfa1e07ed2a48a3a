"""`sod2.verify`: a compiled function against plain JAX over the sizes at which compilers go wrong."""
