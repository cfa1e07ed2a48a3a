"""Mathematical functions (being written)."""
FUNCTIONS = {}
def fmod(m, s, x, y):
    return m.bin("frem", s, x, y)
