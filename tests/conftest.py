"""Settings that let the tests pass on a busy machine and in the background."""

import os
import signal

from hypothesis import HealthCheck, settings

# One thread for each test process: small tensors gain nothing from more, and parallel tests would fight over cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's `&` leaves SIGINT ignored, which every process that the tests start and interrupt would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Both the deadline of an example and the check that examples are drawn quickly are wall-clock times.
settings.register_profile("ltaug", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ltaug")


def pytest_collection_modifyitems(config, items):
    """Among several workers, slow tests come first, so that no worker is left alone with them at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
