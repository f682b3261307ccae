"""Check every image and label of a dataset, and write it as shards for fast training.

    python prepare.py --dataset wild68 --data-dir wild68 --output-dir prepared/wild68
    python prepare.py --dataset synthetic --faces 50000 --output-dir prepared/synthetic

The same command resumes a run that was stopped. `train.py` takes the folder as --data-dir. If
--data-dir is a dataset as distributed, `train.py` prepares it itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tf_dhm.core.cli import require_options, run_script

from pipelines.datasets.catalogue import check_data_dir
from pipelines.prepared.config import REJECTED_FILE, StoreConfig
from pipelines.synthetic.config import SyntheticConfig
from tf_dhm.core.command_line import parse_options
from tf_dhm.core.configuration import AtLeastOne, Count, check_fields
from tf_dhm.core.words import counted
from tf_dhm.runtime.store import DEFAULT_MODEL
from tf_dhm.training.presets import find_preset


@dataclass(frozen=True)
class Config:
    """The dataset to prepare, and its folder."""

    dataset: str
    """Name of the dataset: synthetic (rendered here), wild68, 300w_lp, or another one that docs/training.md
    lists."""
    output_dir: Path
    """New folder, or one of a stopped run with the same options."""
    data_dir: Path | None = None
    """Folder of the dataset as distributed; none for synthetic."""
    crop_side: AtLeastOne = StoreConfig.for_input(find_preset(DEFAULT_MODEL).model.input_size).crop_side
    """Side in pixels to which larger crops of faces are reduced: 4/3 of the network's input. The default is
    that of the default preset of train.py."""
    limit: AtLeastOne | None = None
    """Stop after this number of faces."""
    faces: AtLeastOne = SyntheticConfig.count
    """Number of synthetic faces to render; every eleventh is held out for validation."""
    faces_seed: Count = SyntheticConfig.seed
    """Number of the series of synthetic faces; parts of a large set can be rendered in parallel with
    different numbers."""
    threads: Count = 0
    """Processes that render; 0 for one per core."""

    def __post_init__(self) -> None:
        check_fields(self)


def main() -> None:
    require_options("--dataset synthetic --output-dir prepared/synthetic")
    config = parse_options(Config, description=__doc__)
    check_data_dir(config.dataset, config.data_dir)
    # After the options, so that --help and errors about options do not wait for TensorFlow.
    from pipelines.prepared import records
    from pipelines.prepared.datasets import prepare_dataset
    from pipelines.synthetic.series import training_series

    store = StoreConfig(crop_side=config.crop_side)
    faces = training_series(config.faces, config.faces_seed, config.crop_side)
    prepare_dataset(
        config.dataset, config.data_dir, config.output_dir, store, config.limit, faces, config.threads
    )
    counts = records.read_settings(config.output_dir)["counts"]
    rejected = counts.pop("rejected", 0)
    splits = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    print(f"{config.dataset}: {counted(sum(counts.values()), 'face')} ({splits}) in {config.output_dir}")
    print(f"{rejected:,} rejected; reasons in {config.output_dir / REJECTED_FILE}")


if __name__ == "__main__":
    run_script(main)
