"""Promote a trained model: copy it as the next version of a served model, with its TFLite file and a card.

    python export.py --model runs/my_run/export/fast_dhm --promote fast_dhm \\
        --metrics runs/evaluation/metrics.json --metrics-title "AFLW2000-3D"

Without --promote it only writes TFLite files, into the version folder of the model, beside those that are
there already:

    python export.py --model runs/my_run/export/fast_dhm --tflite float32 float16 dynamic_range
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import require_options, run_script

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import check_name
from tf_dhm.runtime.store import find_savedmodel, model_name
from tf_dhm.runtime.tflite import DEFAULT_KIND, Kind, tflite_name


@dataclass(frozen=True)
class Config:
    """The model to promote or convert, and the results for its card."""

    model: Path
    """Model of this project by name, or the folder of an exported one (runs/<run>/export/<preset>, or one of
    its versions)."""
    promote: str | None = None
    """Name of the served model; its next version is written to <savedmodels-dir>/<name>."""
    tflite: tuple[Kind, ...] | None = None
    """Formats of the TFLite files to write. By default, for a Fast DHM, the one that `Aligner` runs and the
    one for browsers; for another family none."""
    calibration: Path | None = None
    """Dataset written by prepare.py whose `val` faces calibrate the format int8; required by int8 only."""
    metrics: tuple[Path, ...] = ()
    """Files metrics.json that evaluate.py wrote for this model; their results go on the card."""
    metrics_title: tuple[str, ...] = ()
    """Name of the data of each of these files, for example "AFLW2000-3D"."""
    overwrite: bool = False
    """Replace TFLite files that the model already has, which are kept by default."""
    savedmodels_dir: Path = Path("savedmodels")
    """Folder of the served models."""
    renew: bool = False
    """Save the weights with the current signatures instead of copying the model. Give --metrics again."""

    def __post_init__(self) -> None:
        check_fields(self)


def check(config: Config) -> None:
    """InputError for options that cannot be followed."""
    name, titles = config.promote, config.metrics_title
    if name is not None:
        check_name("promote", name)
    if len(config.metrics) != len(titles) or len(set(titles)) != len(titles):
        raise InputError(
            f"metrics-title: found {', '.join(titles) or 'none'}, expected different ones for the "
            f"{len(config.metrics)} files of --metrics"
        )
    if name is None and config.metrics:
        raise InputError("metrics: found some, expected --promote: they are for the card")
    if "int8" in (config.tflite or ()) and config.calibration is None:
        raise InputError(
            "calibration: found none, expected --calibration FOLDER, a dataset that prepare.py wrote: int8 "
            "is calibrated with faces"
        )


def main() -> None:
    require_options("--model runs/train/export/fast_dhm --tflite float32")
    config = parse_options(Config, description=__doc__)
    check(config)
    version_dir = find_savedmodel(config.model)
    # After the options, so that --help and errors about options do not wait for TensorFlow.
    from pipelines.input.calibration import representative_crops
    from tf_dhm.export.card import card_rows
    from tf_dhm.export.description import read_description
    from tf_dhm.export.promote import promote
    from tf_dhm.export.tflite import convert

    model = read_description(version_dir).model
    default: tuple[Kind, ...] = (DEFAULT_KIND, "web") if model.family == "fast_dhm" else ()
    kinds = default if config.tflite is None else config.tflite
    name = config.promote
    if name is None and not config.overwrite:
        files = {kind: version_dir / tflite_name(model_name(version_dir), kind) for kind in kinds}
        present = [kind for kind, path in files.items() if path.exists()]
        for kind in present:
            print(f"{files[kind]}: kept, as it exists already; --overwrite replaces it")
        kinds = tuple(kind for kind in kinds if kind not in present)
        if present and not kinds:
            return
    crops: Any = ()
    if "int8" in kinds and config.calibration is not None:
        crops = representative_crops(config.calibration, model.input_size)
    if name is None:
        for contents in convert(version_dir, None, kinds, crops).values():
            print(f"{contents.path}: {contents.file_bytes:,} bytes")
        return
    rows: dict[str, Any] = {}
    for path, title in zip(config.metrics, config.metrics_title, strict=True):
        rows |= card_rows(path, model_name(version_dir), title)

    def add_files(folder: Path) -> None:
        if kinds:
            convert(version_dir, folder, kinds, crops, name)

    target = promote(config.model, config.savedmodels_dir / name, rows, add_files, config.renew)
    print(f"promoted to {target}")
    served = config.savedmodels_dir / "models.config"
    if served.is_file() and f'name: "{name}"' not in served.read_text(encoding="utf-8"):
        print(f"TF Serving loads it once {served} names it; see docs/serving.md")


if __name__ == "__main__":
    run_script(main)
