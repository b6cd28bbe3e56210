"""What a synthesis is said to take before it starts."""

import numpy as np
import pytest

from ltaug.generator.preconditioning import VP
from ltaug.generator.sampling import guides
from ltaug.stages import estimation


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.2, 0.7), (0.9995, 1.0)])
def test_the_time_counts_two_passes_where_guidance_is_on_and_one_elsewhere(interval, monkeypatch):
    clock = [0.0]

    def generate(denoiser, keys, *, sampling, batch_size, **how):
        assert len(keys) == batch_size
        clock[0] += 10 + sampling.steps * (2 if sampling.guidance else 1)

    monkeypatch.setattr(estimation, "generate", generate)
    monkeypatch.setattr(estimation.time, "perf_counter", lambda: clock[0])
    given = {"guidance": 1.5, "guidance_interval": interval, "per_class_budget": 30, "sample_batch": 7}
    found = estimation.estimate("synthesize", {"dataset": "digits"}, given)
    on = sum(guides(VP(), sigma, interval) for sigma in VP().grid(20)[:-1].tolist())
    assert found["seconds_per_step"] == pytest.approx(10 + 20 + on)
    assert (found["images"], found["steps"]) == (300, int(np.ceil(300 / 7)))
    assert on == {(0.0, 1.0): 20, (0.9995, 1.0): 0}.get(interval, on)
