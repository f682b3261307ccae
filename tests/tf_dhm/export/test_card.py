"""Model cards."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tensorflow as tf

from tests.exports import MEASURES, RESULTS, describe
from tests.tiny_models import random_head, write_tiny_model
from tf_dhm.core.errors import InputError
from tf_dhm.export.card import card_rows, changes_of_network, folder_bytes, model_card
from tf_dhm.export.saved_model import read_head
from tf_dhm.training.presets import find_preset


def test_their_card(network: tf.keras.Model, with_quality: Path) -> None:
    card = model_card("name", with_quality / "1", describe(quality=MEASURES), {}, "1")
    head = random_head(network.get_layer("flatten").output.shape[1])
    count = network.count_params() + head.count
    assert f"{count:,} float32, {4 * count:,} bytes, of which {head.count:,} for visibility" in card
    assert "their visibility, and a confidence." in card
    for row in ("visibility auc | 0.912", "confidence auc face | -", "confidence crops | 9"):
        assert f"| {row} |" in card


def test_the_card_of_a_network_that_was_kept(with_quality: Path) -> None:
    trained = dataclasses.asdict(describe(command="python train.py --name a"))
    kept = describe(faces_seen=0, hours=0.0, command="python train.py --epochs 0", initialized_from=trained)
    again = describe(faces_seen=0, hours=0.0, command="python b", initialized_from=dataclasses.asdict(kept))
    for description in (kept, again):
        card = model_card("name", with_quality / "1", description, {}, "1")
        assert (
            "- Network: that of an earlier run of preset `tiny`, unchanged: 12,345 faces in 90 minutes"
            in card
        )
        assert "(a processor, 2 threads), `python train.py --name a`." in card
        assert f"head for visibility and confidence alone was fitted again: `{description.command}`" in card
        assert " 0 faces" not in card


def test_the_card_of_a_model_without_visibility(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny", quality=True, visibility=False)
    head = read_head(model)
    assert head is not None
    card = model_card("name", model / "1", describe(quality={"confidence_auc": 0.98}), {}, "1")
    assert "landmark box), and a confidence." in card
    assert f"of which {head.count:,} for confidence;" in card
    assert "## Confidence" in card
    assert "isibility" not in card


def test_the_card_names_the_data_of_every_run(exported: Path) -> None:
    first = describe(datasets={"wild68": "research only", "own": "old"})
    last = describe(datasets={"own": "three faces"}, initialized_from=dataclasses.asdict(first))
    card = model_card("name", exported / "1", last, {}, "1")
    assert "- **own**: three faces\n- **wild68**, in an earlier run: research only\n" in card
    assert "old" not in card.partition("## Data")[2].partition("## Accuracy")[0]


def test_the_card_names_every_run_that_trained(exported: Path) -> None:
    first = describe(command="python train.py --name a")
    second = describe(command="python b", faces_seen=7, initialized_from=dataclasses.asdict(first))
    kept = describe(command="python c", faces_seen=0, initialized_from=dataclasses.asdict(second))
    card = model_card("name", exported / "1", describe(initialized_from=dataclasses.asdict(kept)), {}, "1")
    runs = [line for line in card.splitlines() if line.startswith("- Began with the weights")]
    assert [line.split(": ", 1)[1] for line in runs] == [
        "7 faces in 90 minutes, `python b`.",
        "12,345 faces in 90 minutes, `python train.py --name a`.",
    ]
    assert "- Training: 12,345 faces" in card
    card = model_card("name", exported / "1", kept, {}, "1")
    assert "- Network: that of an earlier run of preset `tiny`, unchanged: 7 faces" in card
    assert "12,345 faces in 90 minutes, `python train.py --name a`." in card


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (0.01, "36 seconds"),
        (0.09, "5 minutes"),
        (1.5, "90 minutes"),
        (2.25, "2.2 hours"),
        (30.0, "30.0 hours"),
    ],
)
def test_the_card_gives_the_time_of_training_in_a_fitting_unit(
    exported: Path, hours: float, said: str
) -> None:
    card = model_card("name", exported / "1", describe(hours=hours), {}, "1")
    assert f"12,345 faces seen in {said} (" in card


def test_the_card_names_in_what_a_network_differs_from_its_preset() -> None:
    usual = find_preset("tiny").model
    assert changes_of_network(describe(usual)) == ""
    changed = dataclasses.replace(usual, cnn_multiplier=2.0, hidden_units=0)
    assert changes_of_network(describe(changed)) == " with cnn_multiplier 2.0, hidden_units 0"
    assert changes_of_network(describe(changed, preset="of_old")) == ""


def test_the_card_holds_what_was_measured(network: tf.keras.Model, exported: Path) -> None:
    began = dataclasses.asdict(describe(preset="earlier", command="python train.py --name a", hours=2.25))
    results = {"AFLW2000-3D half, labels original": {**RESULTS, "nme_60_90": 5.875, "nme_mean_of_bins": 3.8}}
    card = model_card("name", exported / "1", describe(initialized_from=began), results, "7")
    assert "Preset `tiny` with input_size 32, " in card
    assert ", version 7. 68 landmarks in 3-D from a 32 x 32 RGB crop" in card
    count = network.count_params()
    assert f"{count:,} float32, {4 * count:,} bytes" in card
    assert f"SavedModel {folder_bytes(exported / '1'):,} bytes with its graph" in card
    assert "12,345 faces seen in 90 minutes (a processor, 2 threads)" in card
    assert "- Command: `python train.py --preset tiny`" in card
    assert "preset `earlier`: 12,345 faces in 2.2 hours, `python train.py --name a`" in card
    assert "- **made_up**: faces of dots; no licence limits." in card
    assert "| val | 2.52 | 3.50 | - | - | 3.25 | 0.457 | 1.2 % | 321 |" in card
    assert "| AFLW2000-3D half, labels original | 2.52 | 3.50 | 5.88 | 3.80 | 3.25 |" in card


def test_rows_of_a_metrics_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    both = {"original": RESULTS, "reannotated": {**RESULTS, "nme_mean": 2.0}}
    one = {"original": RESULTS}
    path.write_text(json.dumps({"tiny": both, "tiny (2 passes)": one, "tiny_wide": one}))
    rows = card_rows(path, "tiny", "Half")
    assert list(rows) == [
        "Half, labels original",
        "Half, labels reannotated",
        "Half, labels original, 2 passes",
    ]
    assert rows["Half, labels reannotated"]["nme_mean"] == 2.0
    with pytest.raises(
        InputError, match=r"found results of tiny, tiny \(2 passes\), tiny_wide, expected some of"
    ):
        card_rows(path, "other", "Half")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "metrics.json: found no such file"),
        ("{", r"metrics.json: found .*, expected JSON"),
        ("[]", "metrics.json: found results of list"),
        ("{}", "metrics.json: found results of no model"),
        ('{"tiny": {"original": {"nme_mean": 3.0}}}', "tiny, original: found no nme_0_30, nme_30_60"),
        ('{"tiny": 3}', "metrics.json: tiny: found 3, expected label sets"),
        ('{"tiny": {"original": 3}}', "metrics.json: tiny, original: found 3, expected metrics"),
    ],
)
def test_metrics_files_that_are_none(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match=message):
        card_rows(tmp_path / "metrics.json", "tiny", "x")
