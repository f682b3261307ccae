"""The Basel Face Model: solved from a dataset's files, and read in the layouts it goes round in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from tests.morphables import VERTICES, toy_model, toy_parameters
from tf_dhm.core.errors import InputError
from tf_dhm.core.types import Array
from tf_dhm.face import bfm
from tf_dhm.face.bfm import Fits, fit_files, read_fits, solve_basis
from tf_dhm.face.morphable import MorphableModel

DATA = os.environ.get("TF_DHM_TEST_DATA")
MODEL = toy_model()


def toy_fits(count: int, axes: int = 3, seed: int = 0) -> Fits:
    p = toy_parameters(MODEL, count, seed)
    depth = np.linspace(-100.0, 0.0, count)
    landmarks = MODEL.project(p)
    landmarks[..., 2] += depth[:, None]
    pose = np.concatenate([p[:, 1:6], depth[:, None], p[:, :1]], 1)
    return Fits(p[:, 6:205], p[:, 205:], pose, landmarks[..., :axes])


def write_aflw(folder: Path, fits: Fits, height: int = 450) -> None:
    """The files of AFLW2000-3D: 1-based landmarks, y down."""
    for k in range(len(fits.pose)):
        points = fits.landmarks[k].T.copy()
        points[1] = height + 1 - points[1]
        content = {
            "Shape_Para": fits.identity[k][:, None],
            "Exp_Para": fits.expression[k][:, None],
            "Pose_Para": fits.pose[k][None],
            "pt3d_68": points,
        }
        savemat(folder / f"image{k:05d}.mat", content)


def write_300w_lp(folder: Path, fits: Fits) -> None:
    """The files of 300W-LP: parameters and points apart, without depth."""
    for name in ("AFW", "AFW_Flip", "landmarks/AFW", "landmarks/AFW_Flip"):
        (folder / name).mkdir(parents=True)
    for k in range(len(fits.pose)):
        points = fits.landmarks[k, :, :2].copy()
        points[:, 1] = 451 - points[:, 1]
        content = {
            "Shape_Para": fits.identity[k][:, None],
            "Exp_Para": fits.expression[k][:, None],
            "Pose_Para": fits.pose[k][None],
        }
        savemat(folder / "AFW" / f"AFW_{k}_0.mat", content)
        savemat(folder / "landmarks" / "AFW" / f"AFW_{k}_0_pts.mat", {"pts_2d": points + 5, "pts_3d": points})
    savemat(folder / "landmarks" / "AFW_Flip" / "AFW_0_0_pts.mat", {"pts_3d": np.zeros((68, 2))})


def left_out_error(model: MorphableModel, fits: Fits) -> Array:
    """Distance along each axis in pixels, (N, 68, 3)."""
    drawn = [
        model.landmarks_from_mat(*parameters, 450)
        for parameters in zip(fits.identity, fits.expression, fits.pose, strict=True)
    ]
    truth = fits.landmarks.copy()
    truth[..., 0] -= 1.0
    truth[..., 1] = 450 - truth[..., 1]
    return np.abs(np.stack(drawn) - truth)


@pytest.mark.parametrize("axes", [3, 2])
def test_solve_recovers_the_basis(axes: int) -> None:
    model = solve_basis(toy_fits(600, axes))
    assert left_out_error(model, toy_fits(20, seed=1)).max() < 1e-6
    np.testing.assert_allclose(model.landmark_mean, MODEL.landmark_mean, atol=1e-3)


def test_solve_from_both_layouts_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aflw, lp, cache = tmp_path / "aflw", tmp_path / "lp", tmp_path / "cache"
    aflw.mkdir()
    write_aflw(aflw, toy_fits(300))
    write_300w_lp(lp, toy_fits(450))
    left_out = toy_fits(10, seed=1)
    for folder in (aflw, lp):
        assert left_out_error(MorphableModel.solve(folder, cache), left_out).max() < 1e-4
    assert len(list(cache.iterdir())) == 2
    # The second time nothing is read but the cache; without a folder it is the user's.
    monkeypatch.setattr(bfm, "read_fits", lambda files: pytest.fail("read the files again"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    cache.rename(tmp_path / "home" / "tf_dhm")
    assert left_out_error(MorphableModel.solve(aflw), left_out).max() < 1e-4


def test_solve_says_which_files_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image\*\.mat with pt3d_68 \(AFLW2000-3D\) or .* \(300W-LP\)"):
        MorphableModel.solve(tmp_path, tmp_path)
    write_300w_lp(tmp_path, toy_fits(1))
    (tmp_path / "AFW" / "AFW_0_0.mat").unlink()
    with pytest.raises(InputError, match=r"AFW_0_0\.mat: found no file"):
        MorphableModel.solve(tmp_path, tmp_path)


def test_solve_refuses_too_few_or_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found 250 files, expected at least 287"):
        solve_basis(toy_fits(250))
    with pytest.raises(InputError, match="found 400 files, expected at least 430"):
        solve_basis(toy_fits(400, axes=2))
    fits = toy_fits(600)
    with pytest.raises(InputError, match=r"disagree by .* px"):
        solve_basis(replace(fits, landmarks=fits.landmarks + [0.0, 30.0, 0.0]))
    same = replace(fits, identity=np.repeat(fits.identity[:50], 12, 0))
    with pytest.raises(InputError, match="independent equations"):
        solve_basis(same)
    with pytest.raises(InputError, match="zero in all files"):
        solve_basis(replace(fits, expression=fits.expression * 0.0))
    write_aflw(tmp_path, toy_fits(1))
    savemat(tmp_path / "image00001.mat", {"Shape_Para": np.zeros((199, 1))})
    with pytest.raises(InputError, match=r"image00001\.mat: found fields Shape_Para, expected also Exp_Para"):
        read_fits(fit_files(tmp_path))
    content = {"Shape_Para": np.zeros((100, 1)), "Exp_Para": np.zeros(29), "Pose_Para": np.zeros(7)}
    savemat(tmp_path / "image00001.mat", content)
    with pytest.raises(InputError, match=r"Shape_Para of shape \(100,\), expected \(199,\)"):
        read_fits(fit_files(tmp_path))
    savemat(tmp_path / "image00001.mat", {**content, "Shape_Para": np.zeros((199, 1))})
    with pytest.raises(InputError, match=r"found no pt3d_68 and no file .*image00001_pts\.mat"):
        read_fits(fit_files(tmp_path))
    (tmp_path / "image00001.mat").write_bytes(b"text")
    with pytest.raises(InputError, match=r"image00001\.mat: found .*, expected a readable \.mat file"):
        read_fits(fit_files(tmp_path))


def test_a_large_dataset_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(10):
        (tmp_path / f"image{k}.mat").touch()
    monkeypatch.setattr(bfm, "MAX_FILES", 4)
    assert [path.stem for path in fit_files(tmp_path)] == ["image0", "image3", "image6", "image9"]


@pytest.mark.skipif(DATA is None, reason="TF_DHM_TEST_DATA is not set")
@pytest.mark.parametrize("axes", [3, 2])
def test_left_out_faces_of_aflw2000_3d_are_reproduced(axes: int) -> None:
    files = fit_files(Path(str(DATA)) / "aflw2000_3d_half")
    fits = read_fits(files)
    order = np.random.default_rng(0).permutation(len(files))

    def part(chosen: NDArray[np.intp], axes: int) -> Fits:
        rows = fits.identity[chosen], fits.expression[chosen], fits.pose[chosen]
        return Fits(*rows, fits.landmarks[chosen][..., :axes])

    model = solve_basis(part(order[:900], axes))
    left_out = part(order[900:], 3)
    error = left_out_error(model, left_out)
    # `pt3d_68` is float32: half a step at 256 to 512 px is 1.5e-5.
    assert error.mean() < 2e-5
    assert error.max() < 3e-4
    # And against the files themselves, 1-based and y down.
    for path, drawn in zip([files[k] for k in order[900:905]], range(5), strict=True):
        truth = loadmat(path)["pt3d_68"].T - [1.0, 1.0, 0.0]
        parameters = left_out.identity[drawn], left_out.expression[drawn], left_out.pose[drawn]
        np.testing.assert_allclose(model.landmarks_from_mat(*parameters, 450), truth, atol=3e-4)


# A user's model

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
    ("write", "bfm_parameters"),
    [(write_generated, True), (write_original, True), (write_face3d, True), (write_3dface, False)],
)
def test_read_bfm_reads_every_layout(
    tmp_path: Path, write: Callable[[Path], None], bfm_parameters: bool
) -> None:
    write(tmp_path)
    model = MorphableModel.read_bfm(tmp_path)
    assert model.bfm_parameters == bfm_parameters
    p = toy_parameters(MODEL, 3)
    np.testing.assert_allclose(model.vertices(p), MODEL.vertices(p), atol=1e-3)
    np.testing.assert_allclose(model.project(p), MODEL.project(p), atol=1e-3)
    np.testing.assert_array_equal(model.triangles, MODEL.triangles)
    np.testing.assert_allclose(model.identity_std, MODEL.identity_std)
    expected = bfm.EXPRESSION_STD if bfm_parameters else MODEL.expression_std
    np.testing.assert_allclose(model.expression_std, expected)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: found no folder"):
        MorphableModel.read_bfm(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"found no BFM\.mat, Model_Shape\.mat or 01_MorphableModel\.mat"):
        MorphableModel.read_bfm(tmp_path)
    write_original(tmp_path)
    (tmp_path / "model_info.mat").unlink()
    with pytest.raises(InputError, match=r"found no model_info\.mat"):
        MorphableModel.read_bfm(tmp_path)
    savemat(tmp_path / "Model_Shape.mat", shape_fields())
    (tmp_path / "Model_Expression.mat").unlink()
    with pytest.raises(InputError, match=r"no Model_Exp\.mat or Model_Expression\.mat or Exp_Pca\.bin"):
        MorphableModel.read_bfm(tmp_path)
    write_exp_pca(tmp_path)
    (tmp_path / "std_exp.txt").unlink()
    with pytest.raises(InputError, match=r"found no std_exp\.txt, expected it beside Exp_Pca\.bin"):
        MorphableModel.read_bfm(tmp_path)


def test_foreign_fields_are_named(tmp_path: Path) -> None:
    fields = shape_fields()
    savemat(tmp_path / "Model_Exp.mat", expression_fields())
    path = tmp_path / "Model_Shape.mat"
    savemat(path, {key: value for key, value in fields.items() if key != "sigma"})
    with pytest.raises(InputError, match=r"Model_Shape\.mat: found fields .*w, expected also sigma"):
        MorphableModel.read_bfm(tmp_path)
    savemat(path, {**fields, "w": fields["w"][:, :80]})
    with pytest.raises(InputError, match=r"w of shape \(225, 80\), expected \(225, 199\)"):
        MorphableModel.read_bfm(tmp_path)
    savemat(path, {**fields, "mu_shape": fields["mu_shape"][:-1], "w": fields["w"][:-1]})
    with pytest.raises(InputError, match="mu_shape of 224 numbers, expected 3 per vertex"):
        MorphableModel.read_bfm(tmp_path)
    savemat(path, {**fields, "keypoints": fields["keypoints"] + 100})
    with pytest.raises(InputError, match="expected vertices from 0 to 74"):
        MorphableModel.read_bfm(tmp_path)
    savemat(path, {**fields, "tri": np.ones((4, 5))})
    with pytest.raises(InputError, match=r"tri of shape \(5, 4\)|tri of shape \(4, 5\)"):
        MorphableModel.read_bfm(tmp_path)
    savemat(path, {**fields, "w": "text"})
    with pytest.raises(InputError, match="w of type"):
        MorphableModel.read_bfm(tmp_path)
    savemat(path, {**fields, "sigma": np.full(199, np.nan)})
    with pytest.raises(InputError, match="NaN or infinity in sigma"):
        MorphableModel.read_bfm(tmp_path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"found a MATLAB 7\.3 file, expected one saved with -v7"):
        MorphableModel.read_bfm(tmp_path)


def test_expressions_of_another_mesh_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "Model_Shape.mat", shape_fields())
    foreign = {"mu_exp": np.zeros((30, 1)), "w_exp": np.zeros((30, 29))}
    savemat(tmp_path / "Model_Exp.mat", foreign)
    with pytest.raises(InputError, match=r"mu_exp of shape \(30,\), expected \(225,\)"):
        MorphableModel.read_bfm(tmp_path)
    (tmp_path / "Model_Exp.mat").unlink()
    write_exp_pca(tmp_path)
    (tmp_path / "Exp_Pca.bin").write_bytes((tmp_path / "Exp_Pca.bin").read_bytes()[:-4])
    with pytest.raises(InputError, match=r"Exp_Pca\.bin: found 28800 bytes and 31 components.*28804 bytes"):
        MorphableModel.read_bfm(tmp_path)
    write_exp_pca(tmp_path)
    (tmp_path / "std_exp.txt").write_text("1.0 2.0")
    with pytest.raises(InputError, match=r"std_exp\.txt: found 2 numbers, expected 31"):
        MorphableModel.read_bfm(tmp_path)
    (tmp_path / "std_exp.txt").write_text("one two")
    with pytest.raises(InputError, match=r"std_exp\.txt: found .*, expected 31 numbers"):
        MorphableModel.read_bfm(tmp_path)


def test_foreign_face3d_file_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "BFM.mat", {"shapeMU": np.zeros((225, 1))})
    with pytest.raises(InputError, match=r"BFM\.mat: found fields shapeMU, expected a struct model"):
        MorphableModel.read_bfm(tmp_path)
    savemat(tmp_path / "BFM.mat", {"model": {"shapeMU": np.zeros((225, 1))}})
    with pytest.raises(InputError, match=r"BFM\.mat: found fields shapeMU, expected also expMU"):
        MorphableModel.read_bfm(tmp_path)
    write_original(tmp_path)
    (tmp_path / "BFM.mat").unlink()
    savemat(tmp_path / "model_info.mat", {"trimIndex": np.array([[0, 1]]), "tri": 1, "keypoints": 1})
    with pytest.raises(InputError, match="found trimIndex outside of 85 vertices"):
        MorphableModel.read_bfm(tmp_path)
