"""Typed records: what they read, what they refuse, and how they find the runs they came from."""

import dataclasses
import json
import shutil

import pytest

from ltaug import stages
from ltaug.data.groups import by_frequency
from ltaug.errors import CorruptError, MismatchError
from ltaug.machine import Machine
from ltaug.options import ClassifierOptions, DatasetOptions, EvaluationOptions, GeneratorOptions, SynthesisOptions
from ltaug.records import METRICS_FILE, ClassifierRecord, EvaluationRecord, GeneratorRecord, SynthesisRecord
from ltaug.runs import read_run

CPU = Machine(device="cpu", threads=1)
DRAW = {"dataset": "digits", "imbalance": 10, "head": 12}
TINY = {"steps": 1, "channels": 8, "batch_size": 4, "channel_mults": [1]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One finished run of every stage, each made from those before it."""
    folder = tmp_path_factory.mktemp("runs")
    first = stages.fit_generator(DRAW, TINY | {"flip": True}, out=folder / "first", seed=3, machine=CPU)
    tuned = stages.fit_generator({}, {"steps": 2, "batch_size": 4}, out=folder / "tuned", source=first, machine=CPU)
    sampled = {"sample_steps": 2, "guidance": 1.0, "guidance_interval": [0.1, 0.9]}
    synthetic = stages.synthesize(tuned, sampled | {"per_class_budget": "1"}, out=folder / "synthetic", machine=CPU)
    measured = {"extractor": "pixels", "samples": 10}
    evaluation = stages.evaluate_generator(tuned, sampled | measured, out=folder / "evaluation", arm="cbdm", machine=CPU)
    asked = {"synthetic": synthetic, "arm": "with", "about": "one each", "seed": 5, "draw_seed": 3}
    classifier = stages.train_classifier(DRAW, {"steps": 1}, out=folder / "classifier", machine=CPU, **asked)
    judge = stages.train_classifier(DRAW, {"steps": 1}, out=folder / "judge", seed=3, machine=CPU)
    stages.synthesize(tuned, sampled | {"per_class_budget": "1"}, judges=[judge], out=folder / "judged", machine=CPU)
    return {p.name: p for p in (first, tuned, synthetic, evaluation, classifier)}


@pytest.fixture
def moved(runs, tmp_path):
    """The same runs, moved together to where they may be changed."""
    shutil.copytree(runs["first"].parent, tmp_path / "moved")
    return tmp_path / "moved"


def rewrite(run, change):
    """Change a record as an older or a newer version would have written it: a record without a seal is taken as it is."""
    record = json.loads((run / "run.json").read_text())
    record = {key: value for key, value in record.items() if key not in ("sha256", "format")}
    change(record)
    (run / "run.json").write_text(json.dumps(record))


def test_a_record_holds_what_the_stage_was_given_as_it_was_given(runs):
    generator, synthesis = GeneratorRecord.read(runs["tuned"]), SynthesisRecord.read(runs["synthetic"])
    evaluation, classifier = EvaluationRecord.read(runs["evaluation"]), ClassifierRecord.read(runs["classifier"])
    for record, cls, stage in (
        (generator, GeneratorOptions, "fit-generator"),
        (synthesis, SynthesisOptions, "synthesize"),
        (evaluation, EvaluationOptions, "evaluate-generator"),
        (classifier, ClassifierOptions, "train-classifier"),
    ):
        written = read_run(record.path, stage=stage)
        assert isinstance(record.options, cls)
        assert json.loads(json.dumps(dataclasses.asdict(record.options))) == written["options"][stage]
        assert dataclasses.asdict(record.dataset) == written["options"]["dataset"]
        assert (record.label, record.seed, record.finished) == (written["label"], written["seed"], True)
        assert (record.timings, record.outputs) == (written["timings"], written["outputs"])
        assert record.processor == written["spent"]["processor"] > 0
        assert record.train_digest == written["inputs"]["train"]["digest"]
        record.verify()
    assert generator.options.channel_mults == (1,)
    assert sum(generator.class_counts) == read_run(runs["tuned"])["inputs"]["train"]["images"]
    assert (generator.image_shape, len(generator.class_names), generator.steps, generator.steps_before) == ((1, 8, 8), 10, 3, 1)
    assert synthesis.kept == synthesis.wanted == dict.fromkeys(generator.class_names, 1)
    assert (evaluation.arm, classifier.arm, classifier.about, classifier.judge) == ("cbdm", "with", "one each", False)
    assert (classifier.seed, classifier.draw_seed) == (5, 3)
    assert (classifier.class_counts, classifier.synthetic_counts) == (generator.class_counts, (1,) * 10)


def test_records_follow_their_inputs_wherever_the_runs_were_moved_together(moved):
    evaluated, sampled = (r.generator() for r in (EvaluationRecord.read(moved / "evaluation"), synthesis_of(moved)))
    assert evaluated == sampled
    assert evaluated.path == (moved / "tuned").resolve()
    assert [r.path.name for r in evaluated.lineage()] == ["tuned", "first"]
    shutil.rmtree(moved / "first")
    assert [r.path.name for r in evaluated.lineage()] == ["tuned"]
    judged = SynthesisRecord.read(moved / "judged")
    assert [judge.path.name for judge in judged.judges()] == ["judge"]
    assert synthesis_of(moved).judge_runs == ()
    shutil.rmtree(moved / "tuned")
    assert EvaluationRecord.read(moved / "evaluation").generator() is None
    shutil.rmtree(moved / "synthetic")
    assert ClassifierRecord.read(moved / "classifier").synthesis() is None
    shutil.rmtree(moved / "judge")
    assert judged.judges() == [None]


def synthesis_of(folder):
    """The synthesis that the classifier was given."""
    return ClassifierRecord.read(folder / "classifier").synthesis()


def test_what_an_older_version_did_not_record_has_its_default(moved):
    def forget(record):
        record.pop("spent")
        for options in record["options"].values():
            if isinstance(options, dict):
                for key in ("guidance_interval", "sample_batch", "profile"):
                    options.pop(key, None)

    for name in ("evaluation", "synthetic"):
        rewrite(moved / name, forget)
    for record in (EvaluationRecord.read(moved / "evaluation"), SynthesisRecord.read(moved / "synthetic")):
        assert record.options.guidance_interval == (0.0, 1.0)
        assert record.processor is None
        assert record.options.sample_steps == 2
        assert record.dataset == DatasetOptions(imbalance=10.0, head=12)
    metrics = json.loads((moved / "evaluation" / METRICS_FILE).read_text())
    del metrics["provenance"]["guidance_interval"]
    (moved / "evaluation" / METRICS_FILE).write_text(json.dumps(metrics))
    rewrite(moved / "evaluation", lambda record: record["outputs"].clear())
    found = EvaluationRecord.read(moved / "evaluation").metrics()
    assert found == metrics | {"provenance": metrics["provenance"] | {"guidance_interval": [0.0, 1.0]}}


def test_what_a_newer_version_recorded_is_refused_by_name(moved):
    rewrite(moved / "tuned", lambda record: record["options"]["fit-generator"].update(warp=9))
    with pytest.raises(MismatchError, match=r"options unknown to this version \(warp\); use the ltaug that made it"):
        GeneratorRecord.read(moved / "tuned")


def test_another_stages_and_unfinished_runs_are_refused(moved):
    with pytest.raises(MismatchError, match="is a fit-generator run; a synthesize run is needed here"):
        SynthesisRecord.read(moved / "tuned")
    rewrite(moved / "tuned", lambda record: record.update(status="running"))
    assert not GeneratorRecord.read(moved / "tuned").finished
    with pytest.raises(MismatchError, match="is not finished; run its command again"):
        GeneratorRecord.read(moved / "tuned", finished=True)


def test_an_evaluation_that_lost_its_numbers_is_refused(moved):
    record = EvaluationRecord.read(moved / "evaluation")
    (record.path / METRICS_FILE).write_text("{}")
    with pytest.raises(CorruptError, match="is damaged: its SHA-256"):
        record.metrics()
    rewrite(record.path, lambda written: written["outputs"].clear())
    with pytest.raises(CorruptError, match="it has no summary, per_class"):
        EvaluationRecord.read(record.path).metrics()


def test_classes_by_frequency_break_ties_by_index():
    assert by_frequency([3, 7, 7, 1, 3]) == [1, 2, 0, 4, 3]
