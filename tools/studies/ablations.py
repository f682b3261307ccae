"""Compare trainings of `tools.jax_training` that differ in an option or two, and write two tables.

Each training is exported to a folder of its own, whose name does not matter, and measured twice:

python evaluate.py --models-dir MODELS --dataset wild68 --data-dir PREPARED --split val --boxes true \
    --passes 1 2 --box-error 0.03 0.05 --output-dir NEAR
python evaluate.py ... --box-error 0.09 0.10 --output-dir FAR
python evaluate.py --models-dir MODELS --data-dir AFLW2000-3D --labels original REANNOTATED.npz \
    --boxes true --adapt-folds 2 --output-dir TEST

python -m tools.studies.ablations --models-dir MODELS --baseline NAME --near NEAR --far FAR --test TEST
python -m tools.studies.result_tables         # fills the tables of docs/recipe.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf_dhm.core.cli import run_script

import numpy as np
import pandas as pd

from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import check_fields, to_json
from tf_dhm.core.errors import InputError
from tf_dhm.core.files import atomic_write
from tf_dhm.core.markdown import DASH
from tf_dhm.evaluation.report import METRICS_FILE
from tf_dhm.export.description import read_description
from tools.jax_training.options import TrainOptions
from tools.studies.accuracy_tables import read_metrics

DISTURBED = " (2 passes, disturbed boxes)"


@dataclass(frozen=True)
class AblationConfig:
    """The models, and what evaluate.py measured of them."""

    models_dir: Path
    """Folder of the exported models."""
    baseline: str
    """Model that the others are compared with, and all that differ from it in the seed alone."""
    near: Path
    """Output of evaluate.py on `val` with --box-error 0.03 0.05."""
    far: Path
    """Output of evaluate.py on `val` with --box-error 0.09 0.10."""
    test: Path | None = None
    """Output of evaluate.py on AFLW2000-3D with both label sets, of all or some models."""
    tables: Path = Path("docs/tables")
    """Folder for ablations.csv and ablations_test.csv."""

    def __post_init__(self) -> None:
        check_fields(self)


def changed_options(options: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    """The options of a training that differ from another one, as they are typed.

    Args:
        options, baseline: `Description.options` of models from `tools.jax_training`. An option that the
            baseline lacks, because it is newer, had its default value.
    """
    plain = json.loads(to_json(TrainOptions(folder=Path())))
    defaults = {"train": plain, "augment": plain["augment"]}
    return " ".join(
        part
        for group in ("train", "augment")
        for name, value in options[group].items()
        if name != "seed" and value != baseline[group].get(name, defaults[group].get(name))
        for part in typed(name, value)
    )


def typed(name: str, value: Any) -> Iterator[str]:
    """An option on the command line.

    >>> list(typed("new_weights", False)), list(typed("dataset", ["cfp", "lfpw"]))
    (['--no-new-weights'], ['--dataset', 'cfp', 'lfpw'])
    """
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{flag}" if value else f"--no-{flag}"
        return
    yield f"--{flag}"
    for part in value if isinstance(value, list | tuple) else [value]:
        yield f"{part:g}" if isinstance(part, float) else str(part)


def measured(folder: Path, models: Sequence[str], names: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """Some metrics of an output of evaluate.py: a row for each model, a column for each of `names`.

    Args:
        folder: output of evaluate.py.
        models: those of the table, if they were evaluated.
        names: column -> what stands after the model's name in metrics.json, label set, metric.

    Raises:
        InputError: a metric is missing for a model that has others.
    """
    metrics = read_metrics(folder / METRICS_FILE)
    columns = names.items()
    try:
        rows = {
            model: {name: metrics[model + mode][labels][key] for name, (mode, labels, key) in columns}
            for model in models
            if model in metrics
        }
    except KeyError as error:
        raise InputError(f"{folder}: found no {error} in metrics.json; see the commands in --help") from None
    return pd.DataFrame.from_dict(rows, orient="index")


def validation_table(near: Path, far: Path, models: Sequence[str]) -> pd.DataFrame:
    """What is measured on `val`: a row for each model."""
    exact = {
        "exact boxes": ("", "original", "nme_mean_of_bins"),
        "of these 60–90°": ("", "original", "nme_60_90"),
        "box error 0.03 / 0.05": (DISTURBED, "original", "nme_mean_of_bins"),
    }
    inexact = {"box error 0.09 / 0.10": (DISTURBED, "original", "nme_mean_of_bins")}
    return measured(near, models, exact).join(measured(far, models, inexact))


def aflw2000_table(folder: Path, models: Sequence[str]) -> pd.DataFrame:
    """What is measured on AFLW2000-3D: a row for each model."""
    label_sets = list(next(iter(read_metrics(folder / METRICS_FILE).values())))
    if len(label_sets) != 2 or label_sets[0] != "original":
        raise InputError(f"{folder}: found the labels {label_sets}, expected original and re-annotated ones")
    modes = {"": "", ", cross-fitted": " (cross-fitted, 2 folds)"}
    names = {
        f"{words}{column}": (mode, labels, "nme_mean_of_bins")
        for labels, words in zip(label_sets, ("original", "re-annotated"), strict=True)
        for column, mode in modes.items()
    }
    return measured(folder, models, names)


def compared(table: pd.DataFrame, options: Mapping[str, Mapping[str, Any]], baseline: str) -> pd.DataFrame:
    """The rows of `table` by the options of their models: means over repetitions, and what they change.

    Args:
        table: a row for each model, columns of NME in percent.
        options: of each model, see `changed_options`.
        baseline: the model that the others are compared with.
    """
    changes = [changed_options(options[model], options[baseline]) for model in table.index]
    groups = table.groupby(np.asarray(changes))
    reference, spread = groups.mean().loc[""], groups.get_group("").std()
    rows = []
    for change, group in groups:  # the baseline, "", comes first
        row: dict[str, object] = {"options": f"`{change}`" if change else DASH, "runs": len(group)}
        for column, value in group.mean().items():
            note = f"{value - reference[column]:+.2f}" if change else f"± {spread[column]:.2f}"
            row[str(column)] = f"{value:.2f} ({note})".replace("-", "−")
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    config = parse_options(AblationConfig, description=__doc__)
    models = sorted(path.name for path in config.models_dir.iterdir() if path.is_dir())
    options = {model: read_description(config.models_dir / model).options for model in models}
    if config.baseline not in options:
        raise InputError(f"baseline: found {config.baseline}, expected one of {', '.join(models)}")
    tables = {"ablations": validation_table(config.near, config.far, models)}
    if config.test is not None:
        tables["ablations_test"] = aflw2000_table(config.test, models)
    for name, table in tables.items():
        rows = compared(table, options, config.baseline)
        with atomic_write(config.tables / f"{name}.csv") as path:
            rows.to_csv(path, index=False)
        print(rows.to_string(index=False))


if __name__ == "__main__":
    run_script(main)
