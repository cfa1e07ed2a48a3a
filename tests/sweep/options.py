"""Which calls of the sweep over JAX's public functions an ordinary run takes: drawn anew each time, by the run's `--seed`."""


def pytest_addoption(parser):
    group = parser.getgroup("sweep", "JAX's public functions; `python tests/sweep/run.py` runs all calls")
    group.addoption("--sweep-calls", type=int, default=60, help="how many calls an ordinary run draws")


def pytest_report_header(config):
    return f"sweep over JAX's public functions: --sweep-calls {config.option.sweep_calls} --seed {config.option.seed}"
