"""From photos to a report with published weights everywhere: the recipes' shape, with tiny random weights and no network."""

import json
import socket

import numpy as np
import pipelines
import pytest
import timm
from forking import fork_workers
from PIL import Image
from safetensors.torch import save_file

from ltaug import read_recipe, run_recipe
from ltaug.machine import Machine

pytestmark = pytest.mark.slow

RECIPE = """
about = "photos"
seeds = 1
baseline = "finetuned"
dataset = "folder:{root}/photos"
image-size = 32
test-per-class = 4
[fit-generator]
steps = 4
batch-size = 4
label-set = "bal"
[synthesize]
per-class-budget = "fill:6x"
sample-steps = 2
select-confidence = [0.0, 1.0]
judges = 1
[train-classifier]
model = "test_resnet"
pretrained = "{root}/classifier.safetensors"
preset = "finetune"
drop-path = 0
steps = 4
[arms.probed]
train-classifier = {{ preset = "probe", loss = "logit-adjusted", steps = 10 }}
[arms.finetuned]
[arms.finetuned-la]
train-classifier = {{ loss = "logit-adjusted" }}
[arms.tuned]
fit-generator = {{ pretrained = "{root}/pipeline" }}
[arms.own]
fit-generator = {{ latent = "{root}/pipeline", channels = 8, channel-mults = [1, 2], attention = [], blocks = 1 }}
"""


@pytest.fixture
def offline(monkeypatch):
    connect = socket.socket.connect

    def refuse(self, address):
        assert self.family == socket.AF_UNIX, "something asked the network"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_photos_become_a_verdict_that_names_its_outside_data(tmp_path, monkeypatch, offline):
    fork_workers(monkeypatch)
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    rng = np.random.RandomState(0)
    for name, count in (("dog", 12), ("zebra", 8), ("gnu", 6)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.randint(0, 256, (40, 40, 3)).astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.jpg")
    card = "---\nlicense: cc-by-nc-4.0\ndatasets: [imagenet-1k]\n---\n"
    pipelines.save(tmp_path / "pipeline", pipelines.dit(side=8), pipelines.autoencoder(), card=card)
    save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), tmp_path / "classifier.safetensors")
    (tmp_path / "photos.toml").write_text(RECIPE.format(root=tmp_path))
    out = run_recipe(read_recipe(tmp_path / "photos.toml"), out=tmp_path / "runs", machine=Machine(device="cpu"), workers=2)
    report = (tmp_path / "runs" / "report" / "report.md").read_text()
    assert out
    assert "cc-by-nc-4.0" in report
    assert "imagenet-1k" in report
    record = json.loads((tmp_path / "runs" / "seed-0" / "tuned" / "classifier" / "run.json").read_text())
    assert {one["role"] for one in record["facts"]["outside"]} >= {"classifier", "generator", "autoencoder"}
    assert len(list((tmp_path / "cache" / "latents").iterdir())) == 1
