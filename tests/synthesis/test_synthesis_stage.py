"""Synthesis: exact budgets, prefixes, resume, what is written and what damage does."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from making import NAMES, HalfJudge, files, synthesize
from PIL import Image

from ltaug import files as files_module
from ltaug.data.folder import class_folder
from ltaug.data.imageset import ImageSet
from ltaug.errors import BudgetError, CorruptError, MismatchError, OptionError
from ltaug.generator import generate as generated
from ltaug.manifest import read_manifest, read_synthetic, synthetic_digest, verify_images
from ltaug.synthesis import parts, stores
from ltaug.synthesis.candidates import Share, Tally
from ltaug.synthesis.parts import FOLDER


def test_the_budget_is_met_exactly_and_read_back_as_it_was_made(generator, real, tmp_path):
    record = synthesize(tmp_path / "s", generator, real, budget={"cat": 0, "sea/lion": 5, "..": 7})
    assert record["facts"]["kept"] == {"cat": 0, "sea/lion": 5, "..": 7}
    assert record["facts"]["shortfall"] == {}
    images = read_synthetic(tmp_path / "s")
    assert images.class_counts.tolist() == [0, 5, 7]
    assert images.class_names == NAMES
    folders = {p.parent.name for p in (tmp_path / "s" / "images").rglob("*.png")}
    assert folders == {class_folder("sea/lion"), class_folder("..")}
    assert not any("/" in f or f.startswith(".") for f in folders)
    sheet = Image.open(tmp_path / "s" / "contact-sheet.png")
    assert sheet.size[1] > sheet.size[0] / 7
    assert not (tmp_path / "s" / FOLDER).exists()


def test_a_smaller_budget_is_a_prefix_of_a_larger_one_whatever_the_batches(generator, real, tmp_path):
    judges = [HalfJudge()]
    synthesize(tmp_path / "few", generator, real, budget={"..": 4}, judges=judges, select_agreement=True)
    synthesize(
        tmp_path / "many", generator, real, budget={"..": 9, "cat": 2}, judges=judges, select_agreement=True, sample_batch=5
    )
    few = [r for r in read_manifest(tmp_path / "few") if r.verdict == "kept"]
    many = [r for r in read_manifest(tmp_path / "many") if r.verdict == "kept" and r.class_ == ".."]
    assert [r.index for r in few] == [r.index for r in many][:4]
    assert len(many) == 9


def test_selection_tops_up_to_the_exact_budget_and_says_what_it_rejected(generator, real, tmp_path):
    record = synthesize(tmp_path / "s", generator, real, budget={"..": 6}, judges=[HalfJudge()], select_agreement=True)
    facts = record["facts"]
    assert facts["kept"][".."] == 6
    assert facts["candidates"][".."] == 6 + facts["rejected"]["disagree"]
    rows = read_manifest(tmp_path / "s")
    assert [bool(r.file) for r in rows] == [r.verdict == "kept" for r in rows]
    assert [r.index for r in rows] == list(range(facts["candidates"][".."]))
    assert rows[-1].verdict == "kept"


class HesitantJudge(HalfJudge):
    """Is the surer of the class ".." the darker an image is."""

    def probabilities(self, images):
        dark = 1 - images.reshape(len(images), -1).mean(1) / 255
        return np.stack([(1 - dark) / 3, (1 - dark) * 2 / 3, dark], 1).astype(np.float32)


def test_several_rules_keep_the_same_first_images_whatever_the_budget_and_say_why_of_the_others(generator, real, tmp_path):
    rules = {"select_confidence": (0.25, 0.75), "select_margin": 0.2, "select_diffult": "aid", "drop_copies": True}
    judges = [HesitantJudge(), HalfJudge()]
    facts = synthesize(tmp_path / "few", generator, real, budget={"..": 10}, judges=judges, **rules)["facts"]
    synthesize(tmp_path / "many", generator, real, budget={"..": 14}, judges=judges, sample_batch=5, **rules)
    few, many = (read_manifest(tmp_path / name) for name in ("few", "many"))
    assert many[: len(few)] == few
    assert [row.verdict for row in few].count("kept") == 10
    assert facts["rejected"] == {
        word: sum(row.verdict == word for row in few) for word in sorted({row.verdict for row in few}) if word != "kept"
    }
    assert set(facts["rejected"]) == {"unsure", "ambiguous", "easy"}
    for row in few:  # the manifest rounds
        low, high = {"unsure": (0, 0.25), "easy": (0.75, 1)}.get(row.verdict, (0.25, 0.75))
        assert low <= float(row.confidence) <= high


def test_confidence_is_the_judges_mean_probability_and_empty_without_judges(generator, real, tmp_path):
    judges = [HesitantJudge(), HalfJudge()]
    synthesize(tmp_path / "s", generator, real, budget={"..": 4, "sea/lion": 2}, judges=judges, drop_copies=True)
    images = read_synthetic(tmp_path / "s")
    kept = [row for row in read_manifest(tmp_path / "s") if row.verdict == "kept"]
    mean = np.mean([judge.probabilities(images.images) for judge in judges], axis=0)
    assert [float(row.confidence) for row in kept] == pytest.approx(mean[np.arange(6), images.labels], abs=6e-5)
    synthesize(tmp_path / "none", generator, real, budget={"..": 2})
    assert {row.confidence for row in read_manifest(tmp_path / "none")} == {""}


def test_a_manifest_from_before_confidence_was_noted_is_read(generator, real, tmp_path):
    synthesize(tmp_path / "s", generator, real, budget={"..": 3})
    now, path = read_manifest(tmp_path / "s"), tmp_path / "s" / "manifest.csv"
    lines = [line.split(",") for line in path.read_text().replace('"0,1"', "0").splitlines()]
    at = lines[0].index("confidence")
    path.write_text("".join(",".join(line[:at] + line[at + 1 :]) + "\n" for line in lines))
    before = read_manifest(tmp_path / "s")
    assert before == [dataclasses.replace(row, guidance_interval="0") for row in now]
    path.write_text("".join(",".join(line[: at - 1] + line[at + 1 :]) + "\n" for line in lines))
    with pytest.raises(CorruptError, match=r"feature_distance, confidence, .*; synthesize again"):
        read_manifest(tmp_path / "s")


def test_a_class_that_stays_short_is_said(generator, real, tmp_path):
    said = []
    record = synthesize(
        tmp_path / "s",
        generator,
        real,
        budget={"sea/lion": 3, "..": 2},
        judges=[HalfJudge()],
        select_agreement=True,
        listener=lambda event: said.append(event.text),
    )
    assert record["facts"]["shortfall"] == {"sea/lion": 3}  # the judge never says sea lion
    assert record["facts"]["candidates"]["sea/lion"] == 3 * 40
    assert any("Short of the budget" in text and "sea/lion by 3" in text for text in said)


def test_not_one_image_is_an_error_with_the_remedy(generator, real, tmp_path):
    with pytest.raises(BudgetError, match=r"none of 120 candidates .* fit the generator longer"):
        synthesize(tmp_path / "s", generator, real, budget={"sea/lion": 3}, judges=[HalfJudge()], select_agreement=True)
    with pytest.raises(BudgetError, match=r"passed the selection \(--select-confidence\): \d+ easy, \d+ unsure; fit"):
        synthesize(tmp_path / "c", generator, real, budget={"..": 3}, judges=[HalfJudge()], select_confidence=(0.3, 0.9))


def test_an_interrupted_synthesis_goes_on_to_the_same_images(generator, real, tmp_path, monkeypatch):
    wanted = {"budget": {"sea/lion": 11, "..": 12}, "sample_batch": 4}
    synthesize(tmp_path / "whole", generator, real, **wanted)

    made = []

    def dies_in_the_third_round(*args, **kwargs):
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    generate = generated.generate
    monkeypatch.setattr(generated, "generate", dies_in_the_third_round)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "cut", generator, real, **wanted)
    (tmp_path / "cut" / FOLDER / ".000002.zip.half").write_bytes(b"images/half a li")  # what a kill leaves
    made[:] = [0] * 10
    synthesize(tmp_path / "cut", generator, real, **wanted)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert len(made) == 10 + 4  # 23 images in parts of 4, two of which were not made again


def test_a_disk_that_fills_up_is_an_error_and_the_same_command_goes_on_to_the_same_images(generator, real, tmp_path, monkeypatch):
    wanted = {"budget": {"sea/lion": 11, "..": 12}, "sample_batch": 4, "guidance": 1.0, "guidance_interval": (0.2, 0.7)}
    synthesize(tmp_path / "whole", generator, real, **wanted)
    write, put = files_module.write_bytes, stores._write_file

    def full(path, *content):
        if path.name.endswith("7.png") or (path.parent.name == FOLDER and sum(1 for _ in path.parent.glob("*.zip")) == 3):
            raise OSError(28, "No space left on device")
        (put if path.suffix == ".png" else write)(path, *content)

    for module, name in ((parts, "write_bytes"), (stores, "_write_file")):
        monkeypatch.setattr(module, name, full)
        with pytest.raises(OSError, match="No space left"):
            synthesize(tmp_path / "cut", generator, real, **wanted)
        assert not (tmp_path / "cut" / "manifest.csv").exists()
        monkeypatch.undo()
    synthesize(tmp_path / "cut", generator, real, **wanted)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert {row.guidance_interval for row in read_manifest(tmp_path / "cut")} == {"0.2,0.7"}


def test_out_of_memory_is_told_remembered_and_changes_no_image(generator, real, tmp_path, monkeypatch):
    wanted = {"budget": {"sea/lion": 11, "..": 12}, "sample_batch": 8}
    synthesize(tmp_path / "whole", generator, real, **wanted)
    forward, said = generator.denoiser.forward, []

    def little_room(x, *args):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x, *args)

    monkeypatch.setattr(generator.denoiser, "forward", little_room)
    record = synthesize(tmp_path / "less", generator, real, listener=lambda event: said.append(event.text), **wanted)
    assert [text for text in said if "memory" in text] == [
        "Out of memory with 8 images at a time; going on with 4.",
        "Out of memory with 4 images at a time; going on with 2.",
    ]
    assert record["facts"]["sample_batch"] == 2
    whole, less = read_synthetic(tmp_path / "whole"), read_synthetic(tmp_path / "less")
    assert np.array_equal(whole.labels, less.labels)
    assert np.abs(whole.images.astype(int) - less.images).max() <= 1  # other kernels round otherwise


@pytest.mark.parametrize("damage", ["pixel", "truncated", "missing", "manifest"])
def test_a_damaged_synthetic_set_is_refused(damage, generator, real, tmp_path):
    synthesize(tmp_path / "s", generator, real, budget={"..": 2})
    image = sorted((tmp_path / "s" / "images").rglob("*.png"))[0]
    if damage == "pixel":
        Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    elif damage == "truncated":
        image.write_bytes(image.read_bytes()[:40])
    elif damage == "missing":
        image.unlink()
    else:
        manifest = tmp_path / "s" / "manifest.csv"
        manifest.write_text(manifest.read_text().replace("dpm", "xyz", 1))
    for read in (read_synthetic, verify_images) if damage != "manifest" else (read_synthetic,):
        with pytest.raises(CorruptError):
            read(tmp_path / "s")


@pytest.mark.parametrize("images_to", ["folders", "shards"])
def test_the_images_of_a_finished_set_are_read_again_only_where_a_file_has_changed(
    images_to, generator, real, tmp_path, monkeypatch
):
    synthesize(tmp_path / "s", generator, real, budget={"..": 2}, images_to=images_to)
    read = []
    monkeypatch.setattr("ltaug.manifest.synthetic_digest", read.append)
    verify_images(tmp_path / "s")
    assert not read
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    for _ in range(2):
        verify_images(tmp_path / "copy")
        assert read == [tmp_path / "copy"]


def test_other_classes_or_shapes_are_refused(generator, real, tmp_path):
    renamed = ImageSet(real.images, real.labels, ("cat", "dog", ".."), "renamed")
    with pytest.raises(MismatchError, match=r"missing \['dog'\]"):
        synthesize(tmp_path / "a", generator, renamed, budget={"..": 2})
    larger = ImageSet(np.zeros((12, 1, 16, 16), np.uint8), real.labels, NAMES, "larger")
    with pytest.raises(MismatchError, match=r"\(1, 8, 8\)"):
        synthesize(tmp_path / "b", generator, larger, budget={"..": 2})
    shutil.rmtree(tmp_path / "a")


def test_a_round_is_full_where_classes_may_have_more_and_each_has_its_share():
    tally = Tally([10, 20, 0], 50)
    keys = tally.next(30)
    assert keys == [(0, i) for i in range(10)] + [(1, i) for i in range(20)]
    assert tally.next(30) == [], "those under way should suffice"
    tally.add((key, bool(key[1] % 2)) for key in keys)
    keys = tally.next(60)  # 5 and 10 are wanting, of which about half will be kept
    assert [sum(c == k for c, _ in keys) for k in range(3)] == [20, 40, 0]
    assert [min(i for k, i in keys if k == c) for c in (0, 1)] == [10, 20]


@given(
    wanted=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    limit=st.integers(1, 5),
    size=st.integers(1, 16),
    slots=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_of_every_class_the_first_that_pass_are_kept_whatever_order_parts_come_in(wanted, limit, size, slots, seed):
    random = np.random.RandomState(seed)
    passes = random.rand(len(wanted), 200) < 0.3
    tally, under_way, asked = Tally(wanted, limit), [], []
    while True:
        while len(under_way) < slots and (keys := tally.next(size)):
            assert len(keys) <= size
            under_way.append(keys)
            asked += keys
        if not under_way:
            break
        done = under_way.pop(random.randint(len(under_way)))
        tally.add((key, bool(passes[key])) for key in done)
    assert len(set(asked)) == len(asked), "none is made twice"
    for c, w in enumerate(wanted):
        first = np.flatnonzero(passes[c, : w * limit])[:w]
        assert tally.kept[c] == len(first)
        assert tally.candidates[c] == (first[-1] + 1 if w and len(first) == w else w * limit)
        assert all(index < w * limit for k, index in asked if k == c)


@given(count=st.integers(0, 50), world=st.integers(1, 7), index=st.integers(0, 500))
def test_shares_are_all_candidates_each_in_one(count, world, index):
    shares = [Share(rank, world) for rank in range(world)]
    assert sum(share.of(count) for share in shares) == count
    owners = [share for share in shares if share.own((2, index)) is not None]
    assert [share.whole(share.own((2, index))) for share in owners] == [(2, index)]


@pytest.mark.parametrize("name", ["a", "sea/lion", "..", ".hidden", "über", "a\\b", "CON:", "100%"])
def test_class_folders_are_safe_names_of_their_own(name):
    folder = class_folder(name)
    assert not set(folder) & set('/\\:*?"<>|')
    assert not folder.startswith(".")
    assert (folder == name) == (name in ("a", "über"))


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Every synthesis is too large for memory; the folder of the cache's entries."""
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ltaug.manifest.IN_MEMORY", 0)
    return tmp_path / "cache" / "images"


@pytest.mark.parametrize("images_to", ["folders", "shards"])
def test_a_set_too_large_for_memory_is_mapped_from_the_cache_with_the_same_pixels_and_digest(
    images_to, generator, real, tmp_path, monkeypatch, cached
):
    synthesize(tmp_path / "s", generator, real, budget={"cat": 3, "..": 4}, images_to=images_to)
    mapped = [read_synthetic(tmp_path / "s") for _ in range(2)]
    monkeypatch.setattr("ltaug.manifest.IN_MEMORY", 2**28)
    held = read_synthetic(tmp_path / "s")
    assert not isinstance(held.images, np.memmap)
    for found in mapped:
        assert isinstance(found.images, np.memmap)
        assert np.array_equal(found.images, held.images)
        assert np.array_equal(found.hashes, held.hashes)
        assert found.digest == held.digest == synthetic_digest(tmp_path / "s")
    assert len(list(cached.iterdir())) == 1


def test_a_mapped_set_is_decoded_once_for_all_its_copies_and_refused_where_its_files_are_damaged(
    generator, real, tmp_path, monkeypatch, cached
):
    synthesize(tmp_path / "s", generator, real, budget={"..": 2})
    read_synthetic(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr("ltaug.manifest.read_images", lambda *_: map(pytest.fail, ["decoded again"]))
        read_synthetic(tmp_path / "s")
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    assert read_synthetic(tmp_path / "copy").digest == read_synthetic(tmp_path / "s").digest
    assert len(list(cached.iterdir())) == 1
    image = next((tmp_path / "s" / "images").rglob("*.png"))
    image.write_bytes(image.read_bytes()[:40])
    with pytest.raises(CorruptError):
        read_synthetic(tmp_path / "s")


def test_a_damaged_set_leaves_nothing_in_the_cache(generator, real, tmp_path, cached):
    synthesize(tmp_path / "s", generator, real, budget={"..": 2})
    next((tmp_path / "s" / "images").rglob("*.png")).unlink()
    with pytest.raises(CorruptError):
        read_synthetic(tmp_path / "s")
    assert not list(cached.iterdir())


def test_a_damaged_cache_of_a_set_is_refused(generator, real, tmp_path, cached):
    synthesize(tmp_path / "s", generator, real, budget={"..": 2})
    read_synthetic(tmp_path / "s")
    (entry,) = cached.iterdir()
    array = entry / "images.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.raises(CorruptError):
        read_synthetic(tmp_path / "s")


def test_withdrawn_images_and_those_near_a_withdrawn_training_image_make_room_for_the_next(generator, real, tmp_path):
    wanted = {"budget": {"cat": 6, "..": 6}}
    synthesize(tmp_path / "before", generator, real, **wanted)
    rows = read_manifest(tmp_path / "before")
    near = rows[-1].nearest_real
    (tmp_path / "gone.txt").write_text(f"{rows[2].file}\n\ncat/000004\nreal:{near}\n")
    record = synthesize(tmp_path / "after", generator, real, **wanted, withdraw=str(tmp_path / "gone.txt"))
    assert record["facts"]["kept"] == {"cat": 6, "sea/lion": 0, "..": 6}
    found = {(row.class_, row.index): row for row in read_manifest(tmp_path / "after")}
    out = {("cat", 2), ("cat", 4)} | {key for key, row in found.items() if row.nearest_real == near}
    assert {key for key, row in found.items() if row.verdict == "withdrawn"} == out
    assert record["facts"]["rejected"] == {"withdrawn": len(out)}
    assert all(row.sha256 == found[row.class_, row.index].sha256 for row in rows if (row.class_, row.index) in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cat", "'cat' is neither CLASS/000123, as the manifest names images, nor real:17"),
        ("cta/000001", "cta/000001 is of no class of this set; .*cat"),
        ("real:12", "real:12 is beyond the 12 training images, which count from 0"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_what_cannot_be_withdrawn_is_refused(line, said, generator, real, tmp_path):
    (tmp_path / "gone.txt").write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(OptionError, match=said):
        synthesize(tmp_path / "s", generator, real, budget={"cat": 1}, withdraw=str(tmp_path / "gone.txt"))
    assert not (tmp_path / "s" / "run.json").exists()
