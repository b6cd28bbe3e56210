"""What a process does once before faulting.py forks every command from it: a small experiment, which loads and warms all."""

import tempfile
from pathlib import Path

import ltaug
from ltaug.machine import Machine

with tempfile.TemporaryDirectory() as folder:
    out, here = Path(folder), Machine(device="cpu", threads=1)
    few = {"dataset": "digits", "imbalance": 20, "head": 30}
    ltaug.fit_generator(few, {"steps": 2, "channels": 8, "batch_size": 8}, out=out / "gen", machine=here)
    ltaug.synthesize(out / "gen", {"per_class_budget": "1", "sample_steps": 2}, out=out / "syn", machine=here)
    ltaug.evaluate_generator(out / "gen", {"samples": 20, "extractor": "pixels"}, out=out / "eval", machine=here)
    ltaug.train_classifier(few, {"steps": 2, "model": "resnet8"}, out=out / "clf", seed=0, machine=here)
    ltaug.write_report([out], out=out / "report")
