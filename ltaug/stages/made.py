"""What a stage returns: the path of its run, which can also show what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from webbrowser import open_new_tab

import numpy as np

from ltaug.data.imageset import ImageSet
from ltaug.fields import resolve
from ltaug.files import read_json
from ltaug.machine import Machine
from ltaug.notebook import html_png, html_table
from ltaug.options import SamplingOptions
from ltaug.records import METRICS_FILE, GeneratorRecord
from ltaug.runs import RUN_FILE, read_run, verify_outputs

# It is a Path, so that it goes wherever one does; a look-alike would miss some method, and be no Path to a type checker.
if TYPE_CHECKING:
    SystemPath = Path
else:
    SystemPath = type(Path())


class RunPath(SystemPath):
    """The directory of a run, equal to any other Path of it."""

    @property
    def metrics(self) -> dict[str, Any]:
        """What the finished run measured: metrics.json of a classifier or an evaluation, of others the facts in run.json.

        Raises:
            MismatchError: it is not finished.
            CorruptError: it is damaged.
        """
        record = read_run(self, finished=True)
        if METRICS_FILE not in record["outputs"]:
            return dict(record["facts"])
        verify_outputs(self, record["outputs"], [METRICS_FILE])
        return dict(read_json(self / METRICS_FILE))

    def images(self) -> ImageSet:
        """The kept images of a finished synthesis, `.images` uint8 (N, C, H, W) with `.labels` and `.class_names`.

        Raises:
            MismatchError: another stage's run, or not finished.
            CorruptError: an image is damaged.
        """
        from ltaug.manifest import read_synthetic

        return read_synthetic(self)

    def sample(self, n: int, *, seed: int | None = None, machine: Machine = Machine(), **given: Any) -> ImageSet:  # noqa: B008
        """`n` images of every class from a finished generator: the first candidates of a synthesis with these options.

        Args:
            seed: of the images; None takes the generator's.
            given: SamplingOptions by name, such as guidance or sample_steps.

        Raises:
            OptionError: an option is unknown or out of its limits.
            MismatchError: another stage's run, or not finished.
            CorruptError: its weights are damaged.
        """
        from ltaug.generator.batching import ON_CPU
        from ltaug.generator.generate import Generator, open_generated
        from ltaug.generator.sampling import Sampling
        from ltaug.runtime import for_sampling, make_runtime

        made = GeneratorRecord.read(self, finished=True)
        side, names = max(made.image_shape[1:]), made.class_names
        keys = [(c, i) for c in range(len(names)) for i in range(n)]
        given = {"sample_batch": min(max(len(keys), 1), ON_CPU)} | given  # as a batch is filled up, of more than is asked for
        options = resolve(SamplingOptions, given, image_side=side, where="sample")
        runtime = make_runtime(machine.device, threads=machine.threads)
        generator = Generator.load(self, runtime=runtime)
        sampling = for_sampling(runtime, machine, image_side=side, passes=Sampling.of(options).passes(len(keys)))
        seed = made.seed if seed is None else seed
        images = open_generated(generator, options, len(keys), seed=seed, runtime=sampling, tell=lambda text: None)(keys)
        return ImageSet(images, np.array([c for c, _ in keys], np.int64), names, f"samples:{self.name}")

    def open(self, *args: Any, **kwargs: Any) -> Any:
        """Show the directory in the browser; False where there is none. Of a file, such as `run / "x"`, this is Path.open."""
        return super().open(*args, **kwargs) if args or kwargs or not self.is_dir() else open_new_tab(self.resolve().as_uri())

    def _repr_html_(self) -> str | None:
        """The pictures of a finished run and, of a synthesis, its counts by class; None of any other directory."""
        if not (self / RUN_FILE).is_file():
            return None
        outputs, facts = (read_run(self)[key] for key in ("outputs", "facts"))
        parts = [html_png((self / name).read_bytes()) for name in outputs if name.endswith(".png")]
        if kept := facts.get("kept"):
            counts = ("wanted", "candidates", "kept")
            parts.append(html_table(["class", *counts], [[name, *(facts[key].get(name) for key in counts)] for name in kept]))
        return "".join(parts) or None
