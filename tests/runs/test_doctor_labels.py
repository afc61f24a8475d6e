"""`weclick doctor` looks at what makes the soft labels: given teachers, an ONNX file, or a folder."""

import numpy as np
import pytest
from PIL import Image

from weclick.common.config import complete_config
from weclick.manifest.read import read_label
from weclick.models import build_model
from weclick.runs.doctor.labels import check_labels
from weclick.store.model_file import model_bytes


@pytest.fixture
def config(street, tmp_path):
    """Complete, with the street's labels as class maps in a folder."""
    for clip in street.train.clips:
        (tmp_path / "masks" / clip.id).mkdir(parents=True)
        for frame in clip.frames:
            Image.fromarray(read_label(street.train, frame)).save(
                tmp_path / f"masks/{clip.id}/{frame.name}.png"
            )
    return {**street.config, "window": {**street.config["window"], "max_gap_frames": 2}}


def ask(config, quick=False, **section) -> tuple[str, str]:
    given = complete_config({**config, "soft_labels": section})
    (finding,) = check_labels(given, quick=quick)
    return finding.level, finding.found


def test_the_run_s_own_teacher_needs_no_look(config):
    assert check_labels(complete_config(config)) == []
    assert check_labels(complete_config({**config, "soft_labels": {"teachers": [0, 5]}})) == []


@pytest.mark.parametrize("quick", [False, True])
def test_a_folder_is_read(config, tmp_path, quick):
    folder = {"source": "folder", "folder": {"path": str(tmp_path / "masks")}}
    level, found = ask(config, quick, **folder)
    assert (level, found.partition(": ")[2]) == ("ok", "all 8 files are class maps that fit")
    one, *_, last = sorted((tmp_path / "masks").rglob("*.png"))
    one.unlink()
    Image.fromarray(np.full((64, 96), 77, np.uint8)).save(last)
    level, found = ask(config, quick, **folder)
    assert level == "error"
    assert "has no file for 1 of 4 frames" in found
    assert "holds values [77], expected class ids 0..8" in found


def test_what_is_not_named_and_what_is_not_there(config, tmp_path):
    assert ask(config, source="folder")[1].startswith(
        "soft_labels.source is 'folder', but soft_labels.folder.path"
    )
    assert ask(config, source="onnx")[1].startswith(
        "soft_labels.source is 'onnx', but soft_labels.onnx.path is"
    )
    level, found = ask(config, source="folder", folder={"path": str(tmp_path / "gone")})
    assert level == "error"
    assert "there is no such folder; name the folder there" in found
    assert (
        "there is no such .onnx file; name"
        in ask(config, source="onnx", onnx={"path": str(tmp_path / "x.onnx")})[1]
    )
    assert "there is no such checkpoint" in ask(config, teachers=[0, str(tmp_path / "x.safetensors")])[1]


def test_a_given_teacher_is_loaded(config, street, tmp_path):
    path = tmp_path / "theirs.safetensors"
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    path.write_bytes(model_bytes(model, street.train.classes))
    assert ask(config, teachers=[str(path)])[0] == "ok"
    path.write_bytes(path.read_bytes()[:-1])
    assert (
        "theirs.safetensors: cannot be read as a .safetensors checkpoint"
        in ask(config, teachers=[str(path)])[1]
    )


def test_an_onnx_file_labels_a_frame(config, street, tmp_path):
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    from weclick.evaluate.export import export_model

    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    (tmp_path / "model.safetensors").write_bytes(model_bytes(model, street.train.classes))
    export_model(tmp_path / "model.safetensors", tmp_path, formats=("onnx",))
    onnx = {"path": str(tmp_path / "model.onnx")}
    level, found = ask(config, source="onnx", onnx=onnx)
    assert (level, found.partition(" labels ")[2]) == (
        "ok",
        "100 % of the first frame, and knows every class of the data set",
    )
    level, found = ask(config, source="onnx", onnx={**onnx, "classes": {"0": "road"}})
    assert level == "error"
    assert "no channel stands for sidewalk" in found
