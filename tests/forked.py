"""What a process does once before commands are forked from it: load all, and warm it up by a small experiment."""

import importlib
import pkgutil
import tempfile
from pathlib import Path

import ltaug
from ltaug.machine import Machine

for module in pkgutil.walk_packages(ltaug.__path__, "ltaug."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
with tempfile.TemporaryDirectory() as folder:
    out, here = Path(folder), Machine(device="cpu", threads=1)
    few = {"dataset": "digits", "imbalance": 20, "head": 30}
    ltaug.fit_generator(few, {"steps": 2, "channels": 8, "batch_size": 8}, out=out / "gen", machine=here)
    ltaug.synthesize(out / "gen", {"per_class_budget": "1", "sample_steps": 2}, out=out / "syn", machine=here)
    ltaug.evaluate_generator(out / "gen", {"samples": 20, "extractor": "pixels"}, out=out / "eval", machine=here)
    ltaug.train_classifier(few, {"steps": 2, "model": "resnet8"}, out=out / "clf", seed=0, machine=here)
    ltaug.write_report([out], out=out / "report")
