"""A user's Basel Face Model, in the layouts in which it is distributed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.morphables import VERTICES, toy_model, toy_parameters
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import bfm

MODEL = toy_model()

KEPT = np.random.default_rng(3).permutation(VERTICES + 10)[:VERTICES]
"""Vertices of the original that 300W-LP keeps: here of 85."""

EXPRESSION_MEAN = np.random.default_rng(4).normal(0.0, 1e3, VERTICES * 3)


def columns(components: Array) -> Array:
    """(K, V, 3) -> (3 V, K), x y z x y z …"""
    return components.reshape(len(components), -1).T.astype(np.float32)


def shape_fields() -> dict[str, Any]:
    return {
        "mu_shape": MODEL.mean.reshape(-1, 1) - EXPRESSION_MEAN[:, None],
        "w": columns(MODEL.identity),
        "sigma": MODEL.identity_std[:, None],
        "tri": MODEL.triangles.T + 1,
        "keypoints": MODEL.landmarks[None] + 1,
    }


def expression_fields() -> dict[str, Any]:
    return {
        "mu_exp": EXPRESSION_MEAN[:, None],
        "w_exp": columns(MODEL.expression),
        "sigma_exp": MODEL.expression_std[:, None],
    }


def write_generated(folder: Path) -> None:
    (folder / "Code" / "ModelGeneration").mkdir(parents=True)
    savemat(folder / "Code" / "ModelGeneration" / "Model_Shape.mat", shape_fields())
    savemat(folder / "Code" / "Model_Exp.mat", expression_fields())


def write_original(folder: Path) -> None:
    fields = shape_fields()
    rows = (3 * KEPT[:, None] + np.arange(3)).reshape(-1)
    mean, basis = np.full(((VERTICES + 10) * 3, 1), 7.0), np.full(((VERTICES + 10) * 3, 199), 7.0)
    mean[rows], basis[rows] = fields["mu_shape"], fields["w"]
    content = {"shapeMU": mean, "shapePC": basis.astype(np.float32), "shapeEV": fields["sigma"]}
    savemat(folder / "01_MorphableModel.mat", {**content, "tl": np.ones((4, 3)), "texMU": mean})
    info = {"trimIndex": KEPT[:, None] + 1, "tri": fields["tri"], "keypoints": fields["keypoints"]}
    savemat(folder / "model_info.mat", info)
    savemat(folder / "Model_Expression.mat", expression_fields())


def write_face3d(folder: Path) -> None:
    shape, expression = shape_fields(), expression_fields()
    model = {
        "shapeMU": shape["mu_shape"],
        "shapePC": shape["w"],
        "shapeEV": shape["sigma"],
        "expMU": expression["mu_exp"],
        "expPC": expression["w_exp"],
        "expEV": expression["sigma_exp"],
        "tri": shape["tri"],
        "kpt_ind": shape["keypoints"],
    }
    savemat(folder / "BFM.mat", {"model": model})


def write_exp_pca(folder: Path, count: int = 31) -> None:
    """`Exp_Pca.bin` with more components than are used, as the real one (79)."""
    basis = np.ones((count, VERTICES * 3), "<f4")
    basis[:29] = columns(MODEL.expression).T
    header = np.array([count], "<i4").tobytes() + EXPRESSION_MEAN.astype("<f4").tobytes()
    (folder / "Exp_Pca.bin").write_bytes(header + basis.tobytes())
    deviations = [*MODEL.expression_std, 1.0, 1.0]
    (folder / "std_exp.txt").write_text(" ".join(str(value) for value in deviations))


def write_3dface(folder: Path) -> None:
    savemat(folder / "Model_Shape.mat", shape_fields())
    write_exp_pca(folder)


@pytest.mark.parametrize(
    ("write", "of_300w_lp"),
    [(write_generated, True), (write_original, True), (write_face3d, True), (write_3dface, False)],
)
def test_read_bfm_reads_every_layout(tmp_path: Path, write: Callable[[Path], None], of_300w_lp: bool) -> None:
    write(tmp_path)
    model = bfm.read_bfm(tmp_path)
    p = toy_parameters(MODEL, 3)
    np.testing.assert_allclose(model.vertices(p), MODEL.vertices(p), atol=1e-3)
    np.testing.assert_allclose(model.project(p), MODEL.project(p), atol=1e-3)
    np.testing.assert_array_equal(model.triangles, MODEL.triangles)
    np.testing.assert_allclose(model.identity_std, MODEL.identity_std)
    expected = bfm.EXPRESSION_STD if of_300w_lp else MODEL.expression_std
    np.testing.assert_allclose(model.expression_std, expected)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: found no folder"):
        bfm.read_bfm(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"found no BFM\.mat, Model_Shape\.mat or 01_MorphableModel\.mat"):
        bfm.read_bfm(tmp_path)
    write_original(tmp_path)
    (tmp_path / "model_info.mat").unlink()
    with pytest.raises(InputError, match=r"found no model_info\.mat"):
        bfm.read_bfm(tmp_path)
    savemat(tmp_path / "Model_Shape.mat", shape_fields())
    (tmp_path / "Model_Expression.mat").unlink()
    with pytest.raises(InputError, match=r"no Model_Exp\.mat or Model_Expression\.mat or Exp_Pca\.bin"):
        bfm.read_bfm(tmp_path)
    write_exp_pca(tmp_path)
    (tmp_path / "std_exp.txt").unlink()
    with pytest.raises(InputError, match=r"found no std_exp\.txt, expected it beside Exp_Pca\.bin"):
        bfm.read_bfm(tmp_path)


def test_foreign_fields_are_named(tmp_path: Path) -> None:
    fields = shape_fields()
    savemat(tmp_path / "Model_Exp.mat", expression_fields())
    path = tmp_path / "Model_Shape.mat"
    savemat(path, {key: value for key, value in fields.items() if key != "sigma"})
    with pytest.raises(InputError, match=r"Model_Shape\.mat: found fields .*w, expected also sigma"):
        bfm.read_bfm(tmp_path)
    savemat(path, {**fields, "w": fields["w"][:, :80]})
    with pytest.raises(
        InputError, match=r"w: found .* of shape \(225, 80\), expected numbers of \(any, 199\)"
    ):
        bfm.read_bfm(tmp_path)
    savemat(path, {**fields, "mu_shape": fields["mu_shape"][:-1], "w": fields["w"][:-1]})
    with pytest.raises(InputError, match="mu_shape: found 224 numbers, expected 3 per vertex"):
        bfm.read_bfm(tmp_path)
    savemat(path, {**fields, "keypoints": fields["keypoints"] + 100})
    with pytest.raises(InputError, match="expected vertices from 0 to 74"):
        bfm.read_bfm(tmp_path)
    savemat(path, {**fields, "tri": np.ones((4, 5))})
    with pytest.raises(InputError, match=r"tri: found shape \(4, 5\)"):
        bfm.read_bfm(tmp_path)
    savemat(path, {**fields, "w": "text"})
    with pytest.raises(InputError, match="w: found <U4"):
        bfm.read_bfm(tmp_path)
    savemat(path, {**fields, "sigma": np.full(199, np.nan)})
    with pytest.raises(InputError, match="sigma: found NaN or infinity"):
        bfm.read_bfm(tmp_path)


def test_expressions_of_another_mesh_are_rejected(tmp_path: Path) -> None:
    savemat(tmp_path / "Model_Shape.mat", shape_fields())
    foreign = {"mu_exp": np.zeros((30, 1)), "w_exp": np.zeros((30, 29))}
    savemat(tmp_path / "Model_Exp.mat", foreign)
    with pytest.raises(InputError, match=r"mu_exp: found 30 rows, expected 225"):
        bfm.read_bfm(tmp_path)
    (tmp_path / "Model_Exp.mat").unlink()
    write_exp_pca(tmp_path)
    (tmp_path / "Exp_Pca.bin").write_bytes((tmp_path / "Exp_Pca.bin").read_bytes()[:-4])
    with pytest.raises(InputError, match=r"Exp_Pca\.bin: found 28800 bytes and 31 components.*28804 bytes"):
        bfm.read_bfm(tmp_path)
    write_exp_pca(tmp_path)
    (tmp_path / "std_exp.txt").write_text("1.0 2.0")
    with pytest.raises(InputError, match=r"std_exp\.txt: found 2 numbers, expected 31"):
        bfm.read_bfm(tmp_path)
    (tmp_path / "std_exp.txt").write_text("one two")
    with pytest.raises(InputError, match=r"std_exp\.txt: found .*, expected 31 numbers"):
        bfm.read_bfm(tmp_path)


def test_foreign_face3d_file_is_rejected(tmp_path: Path) -> None:
    savemat(tmp_path / "BFM.mat", {"shapeMU": np.zeros((225, 1))})
    with pytest.raises(InputError, match=r"BFM\.mat: found fields shapeMU, expected a struct model"):
        bfm.read_bfm(tmp_path)
    savemat(tmp_path / "BFM.mat", {"model": {"shapeMU": np.zeros((225, 1))}})
    with pytest.raises(InputError, match=r"BFM\.mat: found fields shapeMU, expected also shapePC"):
        bfm.read_bfm(tmp_path)
    write_original(tmp_path)
    (tmp_path / "BFM.mat").unlink()
    info = {"trimIndex": np.array([[0, 1]]), "tri": np.ones((3, 1)), "keypoints": np.ones((1, 68))}
    savemat(tmp_path / "model_info.mat", info)
    with pytest.raises(InputError, match="found trimIndex outside of 85 vertices"):
        bfm.read_bfm(tmp_path)
