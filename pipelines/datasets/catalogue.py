"""The names of the datasets, with the note of each for the cards of models.

Options are checked against it, so it loads none of the readers.
"""

from __future__ import annotations

from pathlib import Path

from tf_dhm.core.errors import InputError

SYNTHETIC = "synthetic"
"""The dataset that needs no folder: it is rendered."""
LS3D_W_NOTE = (
    "LS3D-W: 2-D projections of 3-D landmarks predicted by 3DFAN and checked by people, boxes from these "
    "landmarks; no z; research use only."
)
LS3D_W_TEST_SETS = (
    "menpo_3d",
    "300w_3d",
    "300vw_3d_a",
    "300vw_3d_b",
    "300vw_3d_c",
    "aflw2000_3d_reannotated",
)

NOTES: dict[str, str] = {
    "wild68": (
        "photos of AFLW, AFW and HELEN; 3-D landmarks fitted by a morphable model to manual points and to "
        "predictions of 3DDFA_V2, boxes from these landmarks; non-commercial research use only. AFLW is "
        "also the source of AFLW2000-3D, no face of which is in it."
    ),
    "cfp": (
        "CFP: photos of celebrities, frontal and in profile; 3-D landmarks predicted by 3DDFA_V2 and by "
        "models of this project, those of turned faces moved toward manual points; boxes from these "
        "landmarks; non-commercial research use only."
    ),
    "lfpw": (
        "LFPW: photos from the web; 3-D landmarks predicted by 3DDFA_V2 and by models of this project, "
        "moved toward the manual points of 300-W; boxes from these landmarks; non-commercial research use "
        "only."
    ),
    "fairface": (
        "FairFace: photos of seven race groups; 3-D landmarks predicted by 3DDFA_V2 and by models of this "
        "project, with no manual point; boxes from these landmarks; non-commercial research use only."
    ),
    "300w_lp": (
        "300W-LP: photos of 300-W turned by rendering, 3-D landmarks of a fitted morphable model, boxes "
        "from these landmarks; research use under the terms of 300-W and 3DDFA."
    ),
    "ls3d_w": LS3D_W_NOTE,
    "aflw2000_3d": "AFLW2000-3D: fitted 3-D landmarks; for testing only.",
    SYNTHETIC: (
        "faces rendered from the open face of this project, made of CC0 data of MakeHuman, with exact 3-D "
        "landmarks, boxes from these landmarks; no photo and no licence limits their use."
    ),
    "csv": "the user's own images and landmarks; boxes from these landmarks.",
    "pts": (
        "images with .pts files of 68 points in 2-D, such as those of 300-W and Menpo; boxes from these "
        "landmarks; no z; the terms of those images hold."
    ),
    **{name: f"sub-set {name} of {LS3D_W_NOTE}" for name in LS3D_W_TEST_SETS},
}
"""Dataset -> its source, labels, boxes and licence."""


def check_dataset(name: str) -> None:
    """Raise an InputError that lists the datasets if `name` is none of them."""
    if name not in NOTES:
        raise InputError(f"dataset: found {name!r}, expected one of {', '.join(NOTES)}")


def check_data_dir(name: str, data_dir: Path | None) -> None:
    """Raise an InputError if `name` is no dataset, or has no folder and is not rendered.

    A folder that is named must exist; its contents are not checked.
    """
    check_dataset(name)
    if data_dir is None and name != SYNTHETIC:
        raise InputError(f"data-dir: found none, expected the folder of {name}")
    if data_dir is not None and not data_dir.exists():
        raise InputError(f"data-dir: found no {data_dir}, expected the folder of {name} or its file")
