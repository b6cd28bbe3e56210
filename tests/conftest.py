"""One thread for each test process: small tensors gain nothing from more, and parallel tests would fight over cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
