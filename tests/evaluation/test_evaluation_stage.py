"""evaluate-generator: what a run holds, what it is measured with and against, copies, interruption, refusals."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ltaug import stages
from ltaug.data.imageset import ImageSet
from ltaug.data.load import load_dataset
from ltaug.errors import CorruptError, LtaugError, MismatchError, OptionError
from ltaug.evaluation import stage
from ltaug.evaluation.stage import per_class
from ltaug.files import read_json
from ltaug.generator import generate as generated
from ltaug.machine import Machine
from ltaug.options import JUDGES, DatasetOptions
from ltaug.runs import read_run
from ltaug.stages import evaluation

CPU = Machine(device="cpu", threads=1)
DIGITS = tuple("0123456789")


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pool():
    """All training digits: the set before the draw."""
    return load_dataset(DatasetOptions(), seed=0).train


@pytest.fixture(scope="module")
def drawn(long_tail):
    return load_dataset(DatasetOptions(**long_tail), seed=1).train


def test_a_run_holds_every_measure_with_its_origin_and_every_missing_one_with_its_reason(
    evaluate, fitted, classifier, pool, drawn
):
    out = evaluate(samples=60)
    found, record = read_json(out / "metrics.json"), read_run(out, stage="evaluate-generator", finished=True)
    assert {k for k, v in found["summary"].items() if v is None} == set(found["reasons"]) & set(found["summary"])
    assert {"fid", "recall", "coverage/few", "consistency", "memorised_1"} <= set(found["summary"])
    assert all(len(values) == 10 for values in found["per_class"].values())
    assert found["class_names"] == list(DIGITS)
    assert found["class_counts"] == drawn.class_counts.tolist()
    assert sorted(c for members in found["groups"].values() for c in members) == list(range(10))
    assert found["provenance"] == {
        "extractor": "classifier",
        "extractor_digest": read_run(classifier)["outputs"]["weights.safetensors"],
        "reference": "balanced",
        "reference_digest": pool.digest,
        "reference_images": len(pool),
        "samples": 60,
        "sampler": "dpm++2m",
        "sample_steps": 2,
        "guidance": 0.0,
        "guidance_interval": [0.0, 1.0],
        "seed": 1,
        "dataset": "digits",
    }
    (weights,) = [digest for name, digest in read_run(fitted)["outputs"].items() if name.endswith("ema.safetensors")]
    generator = record["inputs"]["generator"]
    assert generator["digest"] == weights
    assert (out / generator["path"]).resolve() == fitted.resolve()
    assert record["options"]["evaluate-generator"]["extractor"] == "classifier"
    by_class = rows(out / "per-class.csv")
    assert [row["class"] for row in by_class] == list(DIGITS)
    assert {row["generated_images"] for row in by_class} == {"6"}
    assert [row["consistency"] for row in by_class] == [str(v) for v in found["per_class"]["consistency"]]
    assert Image.open(out / "samples.png").size == (6 * 66 + 2, 10 * 66 + 2)
    assert Image.open(out / "closest-pairs.png").size == (10 * 66 + 2, 5 * 66 + 2)


@pytest.mark.parametrize(("samples", "expected"), [(1, 1), (10, 1), (14, 1), (16, 2), (2000, 200)])
def test_every_class_gets_the_same_number_of_images(samples, expected):
    assert per_class(samples, 10) == expected


def test_an_interrupted_evaluation_begins_again_and_ends_the_same(evaluate, monkeypatch):
    whole = evaluate("whole", sample_batch=16)
    generate, made = generated.generate, []

    def dies_in_the_second_batch(*args, **kwargs):
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    monkeypatch.setattr(generated, "generate", dies_in_the_second_batch)
    with pytest.raises(KeyboardInterrupt):
        evaluate("cut", sample_batch=16)
    cut = evaluate("cut", sample_batch=16)
    for name in stage.OUTPUTS:
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    evaluate("cut", sample_batch=16)
    assert len(made) == 2 + 3  # and a finished one is left as it is


def test_planted_copies_and_mirror_images_are_found_and_shown(evaluate, drawn, monkeypatch):
    head = drawn.take(np.flatnonzero(drawn.labels == drawn.class_counts.argmax()))

    def generate(denoiser, keys, **kwargs):
        images = np.random.RandomState(0).randint(0, 256, (len(keys), 1, 8, 8)).astype(np.uint8)
        images[0], images[1] = head.images[5], head.images[7][..., ::-1]
        return images

    monkeypatch.setattr(generated, "generate", generate)
    for name, mirrored in (("plain", False), ("mirrored", True)):
        original = evaluation.run_evaluation
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "run_evaluation", lambda *a, **k: original(*a, **(k | {"mirrored": mirrored})))  # noqa: B023
            out = evaluate(name)
        copies = [row for row in rows(out / "closest-pairs.csv") if float(row["distance"]) == 0]
        assert [row["index"] for row in copies] == (["0", "1"] if mirrored else ["0"])
        assert [row["mirrored"] for row in copies] == (["0", "1"] if mirrored else ["0"])
        assert all(np.array_equal(drawn.images[int(row["train_index"])], head.images[5]) for row in copies[:1])
        assert read_json(out / "metrics.json")["summary"]["memorised_1"] == len(copies) / 40
        picture = np.asarray(Image.open(out / "closest-pairs.png"))
        assert np.array_equal(picture[2:66, 2:66], picture[68:132, 2:66])
        assert np.array_equal(picture[2:66, 68:132], picture[68:132, 68:132]) == mirrored


@pytest.mark.parametrize(("flags", "mirrored"), [({}, False), ({"flip": True}, True), ({"augment": "ada"}, True)])
def test_mirror_images_are_copies_where_the_generator_saw_them(flags, mirrored, long_tail, tmp_path, monkeypatch):
    options = {"steps": 1, "channels": 8, "batch_size": 4, "channel_mults": [1], **flags}
    generator = stages.fit_generator(long_tail, options, out=tmp_path / "gen", seed=1, machine=CPU)
    asked = {}

    def run_evaluation(*args, mirrored, **kwargs):
        asked["mirrored"] = mirrored
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "run_evaluation", run_evaluation)
    with pytest.raises(KeyboardInterrupt):
        stages.evaluate_generator(generator, {"extractor": "pixels"}, out=tmp_path / "eval", machine=CPU)
    assert asked["mirrored"] == mirrored
    unmirrored = {"steps": 1, "batch_size": 4}
    tuned = stages.fit_generator({}, unmirrored, out=tmp_path / "tuned", source=generator, machine=CPU)
    with pytest.raises(KeyboardInterrupt):
        stages.evaluate_generator(tuned, {"extractor": "pixels"}, out=tmp_path / "eval-tuned", machine=CPU)
    assert asked["mirrored"] == mirrored, "what the network it was started from saw, it saw"


def test_the_default_extractor_is_trained_once_on_the_set_before_the_draw(evaluate, pool, monkeypatch):
    monkeypatch.setitem(JUDGES[0], "steps", 3)
    out = evaluate(extractor="classifier")
    trained = out.with_name("eval.extractor")
    record = read_run(trained, stage="train-classifier", finished=True)
    assert record["inputs"]["train"]["digest"] == pool.digest
    assert record["options"]["judge"] is True  # so that reports leave it out
    assert read_run(out)["inputs"]["extractor"]["path"] == "../eval.extractor"
    said = []
    other_draw = {"dataset": "digits", "imbalance": 5, "profile": "step", "class-order": "index"}
    stages.train_extractor(other_draw, out=trained, machine=CPU, listener=lambda event: said.append(event.text))
    assert said[-1] == "Already done."
    assert read_json(out / "metrics.json")["summary"]["consistency"] is not None


@pytest.mark.parametrize("extractor", ["pixels", "classifier"])
def test_an_extractor_that_does_not_know_these_classes_leaves_consistency_out_with_a_reason(
    extractor, evaluate, tmp_path, pool, classifier
):
    if extractor == "classifier":
        names = np.array([f"digit {name}" for name in DIGITS])
        np.savez(tmp_path / "renamed.npz", images=pool.images, labels=pool.labels, class_names=names)
        options = {"dataset": str(tmp_path / "renamed.npz")}
        run = stages.train_classifier(options, {"steps": 2}, out=tmp_path / "renamed", machine=CPU)
        extractor = f"classifier:{run}"
    found = read_json(evaluate(extractor=extractor) / "metrics.json")
    assert found["summary"]["consistency"] is None
    assert found["reasons"]["consistency"]
    assert found["summary"]["fid"] is not None
    assert (found["provenance"]["extractor_digest"] is None) == (extractor == "pixels")


def test_the_reference_is_the_one_asked_for(evaluate, drawn, pool):
    test = load_dataset(DatasetOptions(), seed=0).test
    for name, expected in (("train", drawn), ("test", test), ("balanced", pool)):
        out = evaluate(name, reference=name, extractor="pixels", samples=10)
        assert read_json(out / "metrics.json")["provenance"]["reference_digest"] == expected.digest
        assert read_run(out)["inputs"]["reference"]["digest"] == expected.digest


def test_another_dataset_is_read_by_class_name(evaluate, tmp_path, pool):
    """Digits numbered the other way round, and a class short."""
    labels = 9 - pool.labels
    test = {"test_images": pool.images[:50], "test_labels": labels[:50]}
    np.savez(tmp_path / "backwards.npz", images=pool.images, labels=labels, class_names=np.array(DIGITS[::-1]), **test)
    out = evaluate("other", reference=str(tmp_path / "backwards.npz"), samples=100)
    found, own = (read_json(path / "metrics.json") for path in (out, evaluate("own", reference="balanced", samples=100)))
    assert found["provenance"]["reference_digest"] == ImageSet(pool.images, pool.labels, DIGITS, "").digest
    assert found["per_class"] == own["per_class"]
    keep = pool.labels < 9
    np.savez(tmp_path / "nine.npz", images=pool.images[keep], labels=pool.labels[keep])
    with pytest.raises(MismatchError, match=r"--reference .*nine\.npz has other classes .*missing \['9'\]"):
        evaluate("nine", reference=str(tmp_path / "nine.npz"))


def test_another_spec_is_refused_by_name(evaluate):
    out = evaluate(samples=10)
    before = (out / "run.json").read_bytes()
    with pytest.raises(MismatchError, match=r"evaluate-generator\.samples: 10 before, 20 now"):
        evaluate(samples=20)
    with pytest.raises(MismatchError, match="seed: 1 before, 2 now"):
        evaluate(samples=10, seed=2)
    assert (out / "run.json").read_bytes() == before


def test_a_damaged_evaluation_is_noticed(evaluate):
    out = evaluate(samples=10)
    (out / "metrics.json").write_text("{}")
    with pytest.raises(CorruptError, match=r"metrics\.json is damaged"):
        evaluate(samples=10)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"extractor": "incepton"}, OptionError, "did you mean 'inception'"),
        ({"extractor": "classifier:"}, OptionError, "classifier:runs/clf"),
        ({"extractor": "pixels:x"}, OptionError, "for a classifier only"),
        ({"extractor": "classifier:no/such"}, CorruptError, "run.json is missing"),
        ({"reference": "balance"}, OptionError, "did you mean 'balanced'"),
        ({"reference": "folder:no/such"}, LtaugError, "no/such"),
        ({"sampler": "dpm"}, OptionError, "'dpm'"),
        ({"samples": 0}, OptionError, "at least 1"),
        ({"smaples": 5}, OptionError, "did you mean 'samples'"),
    ],
)
def test_a_mistake_is_said_before_anything_is_made(given, error, said, evaluate, tmp_path):
    with pytest.raises(error, match=said):
        evaluate(**given)
    assert list(tmp_path.iterdir()) == []


def test_runs_that_do_not_fit_are_refused(evaluate, classifier, fitted, tmp_path):
    with pytest.raises(MismatchError, match="a fit-generator run is needed here"):
        evaluate(generator=classifier)
    with pytest.raises(MismatchError, match="a train-classifier run is needed here"):
        evaluate(extractor=f"classifier:{fitted}")
    options = {"dataset": "digits", "image_size": 12}
    larger = stages.train_classifier(options, {"steps": 1}, out=tmp_path / "larger", machine=CPU)
    with pytest.raises(MismatchError, match=r"takes images of \(1, 12, 12\) and the generator makes \(1, 8, 8\)"):
        evaluate(extractor=f"classifier:{larger}")
    cut = tmp_path / "cut"
    cut.mkdir()
    record = json.loads((fitted / "run.json").read_text()) | {"status": "running"}
    del record["sha256"], record["format"]
    (cut / "run.json").write_text(json.dumps(record))
    with pytest.raises(MismatchError, match="is not finished"):
        evaluate(generator=cut)


def test_two_ways_to_name_what_looks_do_not_contradict_each_other(fitted, classifier, tmp_path):
    both = {"out": tmp_path / "eval", "machine": CPU, "extractor_run": classifier}
    with pytest.raises(OptionError, match="both name a run"):
        stages.evaluate_generator(fitted, {"extractor": f"classifier:{classifier}"}, **both)
    with pytest.raises(OptionError, match="the extractor is 'pixels'"):
        stages.evaluate_generator(fitted, {"extractor": "pixels"}, **both)
    with pytest.raises(OptionError, match="a classifier's weights are its run's"):
        stages.evaluate_generator(fitted, {}, out=tmp_path / "eval", machine=CPU, weights=tmp_path / "w.pth")


def test_without_a_draw_the_reference_is_the_test_set_and_balanced_is_refused(tmp_path):
    generator = stages.fit_generator(
        {"dataset": "digits"}, {"steps": 1, "channels": 8, "channel_mults": [1]}, out=tmp_path / "gen", machine=CPU
    )
    given = {"extractor": "pixels", "samples": 10, "sample_steps": 2}
    out = stages.evaluate_generator(generator, given, out=tmp_path / "eval", machine=CPU)
    assert read_json(out / "metrics.json")["provenance"]["reference"] == "test"
    with pytest.raises(OptionError, match="there was none; use --reference test or train"):
        stages.evaluate_generator(generator, given | {"reference": "balanced"}, out=tmp_path / "b", machine=CPU)
