"""Images that start from real ones: which ones, recorded how, and the same however they are shared out."""

from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from making import NAMES, HalfJudge, files, synthesize, together

from ltaug.data.imageset import ImageSet
from ltaug.errors import CorruptError, OptionError
from ltaug.fields import resolve
from ltaug.manifest import HEADER, KEPT, csv_to_rows, read_manifest, rows_to_csv
from ltaug.methods import STARTS
from ltaug.options import SynthesisOptions, judges_needed
from ltaug.runtime import derive_seed
from ltaug.synthesis.select import Real
from ltaug.synthesis.starts import Starts, most_confused, own, starts_for

BUDGET = {"cat": 17, "..": 14}


class FixedJudge(HalfJudge):
    """Says of the real images, in their order, what it was told; agrees with whoever asks for an image of even first pixel."""

    def __init__(self, said):
        self.said = said

    def probabilities(self, images):
        return self.said if len(images) == len(self.said) else super().probabilities(images)


def test_every_real_image_of_a_class_is_started_from_equally_often(real):
    starts = Starts(real, own(Real(real, [])), seed=5)
    for c, members in enumerate(([*range(8)], [8, 9, 10], [11])):
        n = len(members)
        assert Counter(starts.of(c, i) for i in range(3 * n)) == dict.fromkeys(members, 3)
    turns = [tuple(starts.of(0, i) for i in range(8 * k, 8 * k + 8)) for k in range(5)]
    assert len(set(turns)) == 5, "every turn has an order of its own"
    by_hand = np.random.default_rng(derive_seed(5, "start", 0, 2)).permutation(8)
    assert turns[2] == tuple(by_hand)
    np.testing.assert_array_equal(starts([(0, 17), (2, 3)]), real.images[[by_hand[1], 11]])


def test_another_seed_starts_from_other_images(real):
    orders = {tuple(Starts(real, own(Real(real, [])), seed=seed).of(0, i) for i in range(8)) for seed in range(4)}
    assert len(orders) == 4


def test_the_most_confused_class_is_the_larger_one_with_most_probability_both_ways():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    said = np.zeros((10, 4))
    said[:4] = [0.7, 0.0, 0.1, 0.2]
    said[4:7] = [0.1, 0.6, 0.3, 0.0]
    said[7:9] = [0.25, 0.0, 0.4, 0.35]
    said[9] = [0.1, 0.2, 0.3, 0.4]
    # 3 with 0: .2 + .1, with 1: 0 + .2, with 2: .35 + .3. 2 with 0: .1 + .25, with 1: .3 + 0, with 3 more, but that is smaller.
    assert most_confused(said, labels) == [0, 0, 0, 2]


def test_where_no_class_has_more_images_a_class_starts_from_its_own():
    assert most_confused(np.full((4, 2), 0.5), np.array([0, 0, 1, 1])) == [0, 1]


def test_judges_means_decide_what_is_confused(real):
    said = np.zeros((2, 12, 3))
    said[0, 11], said[1, 11] = [0.5, 0.5, 0.0], [0.1, 0.9, 0.0]
    starts = starts_for("confusable", Real(real, [FixedJudge(s) for s in said]), [0, 0, 5], seed=0)
    assert [pool.tolist() for pool in starts.pools] == [[*range(8)], [*range(8)], [8, 9, 10]]


def test_confusable_starts_need_judges(real):
    with pytest.raises(OptionError, match="--start confusable needs judges"):
        starts_for("confusable", Real(real, []), [1, 1, 1], seed=0)
    assert judges_needed({"start": "confusable"}) == SynthesisOptions.judges
    assert judges_needed({"start": "real"}) == 0


def test_a_class_without_real_images_has_nothing_to_start_from(real):
    fewer = real.images[:11], real.labels[:11]
    without = Real(ImageSet(*fewer, NAMES, "without"), [])
    with pytest.raises(OptionError, match=r"--start real: class '\.\.' has no real image; .* --start noise"):
        starts_for("real", without, [1, 1, 1], seed=0)
    assert starts_for("real", without, [1, 1, 0], seed=0)


@pytest.mark.parametrize("start", STARTS)
def test_what_methods_say_of_a_start_is_so(start, real):
    with pytest.raises(OptionError, match="needs judges") if STARTS.about(start).needs_judges else nullcontext():
        starts_for(start, Real(real, []), [1, 1, 1], seed=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start": "real", "strength": 0.0}, r"strength = 0\.0 must be between 0\.01 and 0\.99"),
        ({"start": "confusable", "strength": 1}, r"strength = 1\.0 must be between 0\.01 and 0\.99"),
        ({"strength": 0.3}, r"--strength 0\.3 is read only with --start real or confusable \(it is noise\)"),
    ],
)
def test_a_strength_that_makes_no_sense_is_refused(given, said):
    with pytest.raises(OptionError, match=said):
        resolve(SynthesisOptions, given, image_side=8)


@pytest.mark.parametrize("start", STARTS)
def test_the_manifest_says_where_each_candidate_started(start, generator, real, tmp_path):
    said = np.tile(np.float32([0.1, 0.8, 0.1]), (12, 1))
    judge, selecting = FixedJudge(said), {"select_agreement": True}
    synthesize(tmp_path / "s", generator, real, budget=BUDGET, judges=[judge], start=start, strength=0.4, **selecting)
    starts = starts_for(start, Real(real, [judge]), [17, 0, 14], seed=0)
    rows = read_manifest(tmp_path / "s")
    assert [int(row.start) for row in rows] == [starts.of(NAMES.index(row.class_), row.index) for row in rows]
    assert {row.verdict for row in rows} > {KEPT}
    synthesize(tmp_path / "noise", generator, real, budget=BUDGET, judges=[judge], **selecting)
    assert {row.start for row in read_manifest(tmp_path / "noise")} == {""}
    assert not {row.sha256 for row in rows} & {row.sha256 for row in read_manifest(tmp_path / "noise")}


@pytest.mark.parametrize("world", [2, 3])
def test_images_from_real_ones_are_the_same_whoever_shares_them(world, generator, real, tmp_path):
    wanted = {"budget": BUDGET, "start": "real", "strength": 0.6, "judges": [HalfJudge()], "select_agreement": True}
    synthesize(tmp_path / "one", generator, real, **wanted, sample_batch=5)
    together(tmp_path / "some", generator, real, world, **wanted, sample_batch=4)
    assert files(tmp_path / "one") == files(tmp_path / "some")
    fewer = {**wanted, "budget": {"cat": 5}}
    synthesize(tmp_path / "few", generator, real, **fewer)
    some = {row.index: row.sha256 for row in read_manifest(tmp_path / "some") if row.class_ == "cat"}
    assert all(some[row.index] == row.sha256 for row in read_manifest(tmp_path / "few"))


def test_a_manifest_of_before_a_column_is_read_with_its_default(generator, real, tmp_path):
    synthesize(tmp_path / "s", generator, real, budget=BUDGET, start="real")
    rows = read_manifest(tmp_path / "s")
    lines = [line.split(",") for line in rows_to_csv(rows).decode().replace('"0,1"', "all").splitlines()]
    place = HEADER.index("start")
    older = "\n".join(",".join(line[:place] + line[place + 1 :]) for line in lines).encode()
    read = csv_to_rows(older)
    assert {row.start for row in read} == {""}
    assert [(r.index, r.sha256, r.guidance) for r in read] == [(r.index, r.sha256, r.guidance) for r in rows]
    place = HEADER.index("verdict")
    broken = "\n".join(",".join(line[:place] + line[place + 1 :]) for line in lines).encode()
    for damaged in (broken, older.replace(b"kept,", b"kept", 1)):
        with pytest.raises(CorruptError, match="columns file, class, index"):
            csv_to_rows(damaged)
