"""Images of any origin: every form gives the same set, made to fit; what does not fit is refused by name."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from ltaug.data.folder import class_folder
from ltaug.data.given import form_of, read_given
from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError, MismatchError

NAMES = ("ant", "sea/lion", ".dot")


def like(*, channels=1, height=8, width=8, names=NAMES):
    """A training set of this shape."""
    return ImageSet(np.zeros((len(names), channels, height, width), np.uint8), np.arange(len(names)), names, "real")


def pixels(number, *, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, channels, 8, 8)).astype(np.uint8)


def picture(image):
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    picture(image).save(file, kind)
    return file.getvalue()


def tree(root, images, labels, names=NAMES):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / class_folder(names[label])
        folder.mkdir(parents=True, exist_ok=True)
        picture(image).save(folder / f"{i}.png")
    return root


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_class_folders_an_archive_of_arrays_and_shards_give_the_same_images(tmp_path):
    images, labels = pixels(5), np.array([0, 0, 1, 1, 2])
    # Folders come in the order of their names: .dot is written %2Edot.
    by_folder = np.array([4, 0, 1, 2, 3])
    folders = tree(tmp_path / "tree", images, labels)
    np.savez(tmp_path / "named.npz", images=images, labels=2 - labels, class_names=NAMES[::-1])
    np.savez(tmp_path / "numbered.npz", images=images[:, 0], labels=labels)
    samples = {}
    for i, label in enumerate(labels):
        samples |= {f"a.b/{i}.png": encoded(images[i]), f"a.b/{i}.cls": (NAMES[label] if i % 2 else str(label)).encode()}
    tar(tmp_path / "shards/0.tar", dict(list(samples.items())[:6]) | {"a.b/0.json": b"{}"})
    tar(tmp_path / "shards/1.tar", dict(list(samples.items())[6:]))
    wanted = ImageSet(images, labels, NAMES, "")
    for name, form in (("tree", "folder"), ("named.npz", "npz"), ("numbered.npz", "npz"), ("shards", "shards")):
        found = read_given(tmp_path / name, like())
        assert form_of(tmp_path / name) == form
        assert found.images.digest == (wanted.take(by_folder) if form == "folder" else wanted).digest
        assert len(found.names) == 5
        numbered = [note for note in found.notes if "class order (0 is 'ant', 2 is '.dot')" in note]
        assert len(numbered) == len(found.notes) == (name in ("numbered.npz", "shards"))
    assert read_given(folders, like()).names[0] == "%2Edot/4.png"
    assert read_given(tmp_path / "shards/1.tar", like()).names == ("1.tar/a.b/3.png", "1.tar/a.b/4.png")


def test_a_missing_class_and_an_empty_folder_are_fine_and_said(tmp_path):
    root = tree(tmp_path / "tree", pixels(2), [2, 2])
    (root / "ant").mkdir()
    (root / "notes.txt").write_text("about these images")
    found = read_given(root, like())
    assert found.images.class_counts.tolist() == [0, 0, 2]
    assert found.notes[0] == "No synthetic image is given of class ant, sea/lion."
    assert found.notes[1].endswith("outside the class folders or links in a circle: 1.")


def test_other_sizes_and_modes_are_made_to_fit_and_said(tmp_path):
    root = tmp_path / "tree"
    (root / "ant").mkdir(parents=True)
    Image.new("RGBA", (32, 20), (0, 0, 0, 0)).save(root / "ant/0.png")
    Image.new("P", (12, 6), 0).save(root / "ant/1.png")
    Image.new("L", (12, 6), 40).save(root / "ant/2.png")
    found = read_given(root, like(height=6, width=12))
    assert found.images.image_shape == (1, 6, 12)
    assert found.images.images[:, 0, 0, 0].tolist() == [255, 0, 40]
    assert found.notes[1:] == (
        "1 of 3 synthetic images are resized to 12x6 (from 32x20).",
        "2 of 3 synthetic images are converted to L (from RGBA, P).",
        "Synthetic images converted: alpha channel put on white (1).",
    )
    colour = read_given(root, like(channels=3))
    assert colour.images.image_shape == (3, 8, 8)
    assert (colour.images.images[2] == 40).all()


def test_arrays_of_another_size_are_resized_as_files_are(tmp_path):
    images = pixels(3, channels=3)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 2])
    tree(tmp_path / "tree", images[[2, 0, 1]], [2, 0, 1])
    shape = {"channels": 3, "height": 4, "width": 6}
    arrays, files = (read_given(tmp_path / name, like(**shape)).images for name in ("a.npz", "tree"))
    assert arrays.take(np.array([2, 0, 1])).digest == files.digest


def test_broken_images_are_all_named(tmp_path):
    root = tree(tmp_path / "tree", pixels(2), [0, 0])
    (root / "ant/empty.png").write_bytes(b"")
    (root / "ant/text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"2 images cannot be read: ant/empty.png \(the file is empty\); ant/text.jpg .*tree"):
        read_given(root, like())
    tar(tmp_path / "0.tar", {"a.png": encoded(pixels(1)[0])[:60], "a.cls": b"0"})
    with pytest.raises(DataError, match=r"1 image cannot be read: 0.tar/a.png"):
        read_given(tmp_path / "0.tar", like())


PNG = encoded(pixels(1)[0])


@pytest.mark.parametrize(
    ("members", "error", "said"),
    [
        ({"a.png": PNG, "a.cls": b"3"}, DataError, "numbers run from 0 to 3; they must lie between 0 and 2"),
        ({"a.png": PNG, "a.cls": b"-1"}, DataError, "numbers run from -1 to 0"),
        ({"a.png": PNG, "a.cls": b"bee"}, MismatchError, "has no class bee"),
        ({"a.png": PNG}, DataError, "no .cls for a;"),
        ({"a.cls": b"0"}, DataError, "no image for a;"),
        ({"a.png": PNG, "a.jpg": PNG, "a.cls": b"0"}, DataError, "a has two images, a.png and a.jpg"),
        ({}, DataError, "has no images"),
    ],
)
def test_shards_that_do_not_fit_are_refused(tmp_path, members, error, said):
    with pytest.raises(error, match=said):
        read_given(tar(tmp_path / "0.tar", members), like())


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"labels": [0, 3]}, DataError, "labels run from 0 to 3; they must lie between 0 and 2"),
        ({"labels": [0, 1], "class_names": ["ant", "bee"]}, MismatchError, "has no class bee .*; rename or remove it"),
        ({"labels": [0, 1], "class_names": ["ant", "ant"]}, DataError, "class_names repeats a name"),
        (
            {"labels": [0, 1], "class_names": ["ant", "\ud800"]},
            DataError,
            r"'.ud800' is not text that UTF-8 can write; rename it",
        ),
        ({"labels": [0, 1, 2]}, DataError, "one whole number for each image"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, error, said):
    np.savez(tmp_path / "a.npz", images=pixels(2), **arrays)
    with pytest.raises(error, match=said):
        read_given(tmp_path / "a.npz", like())


def test_what_is_no_set_of_images_is_refused(tmp_path):
    root = tree(tmp_path / "tree", pixels(2), [0, 1])
    (root / "bee").mkdir()
    with pytest.raises(MismatchError, match="the dataset has no class bee"):
        read_given(root, like())
    (root / "bee").rename(root / "ant/more")
    (tmp_path / "empty/ant").mkdir(parents=True)
    with pytest.raises(DataError, match="empty has no images; give a synthesize run, a folder"):
        read_given(tmp_path / "empty", like())
    with pytest.raises(DataError, match="does not exist"):
        form_of(tmp_path / "nowhere")
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"neither .npz nor .tar"):
        form_of(tmp_path / "a.zip")
    tar(root / "0.tar", {})
    with pytest.raises(DataError, match=r"holds shards .* and folders"):
        form_of(root)
    (tmp_path / "cut.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(DataError, match=r"not a readable tar \([^\n]*\); make it again"):
        read_given(tmp_path / "cut.tar", like())
    np.save(tmp_path / "one.npy", pixels(2))
    with pytest.raises(DataError, match=r"cannot be read \(it is not a .npz file\)"):
        read_given((tmp_path / "one.npy").rename(tmp_path / "one.npz"), like())
