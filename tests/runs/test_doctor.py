import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from weclick import cli


@pytest.fixture
def folder(tmp_path):
    """A sound data set of two clips, and its configuration."""
    rng = np.random.default_rng(0)
    for clip in ("a", "val"):
        for kind, shape, high in (("frames", (32, 32, 3), 256), ("labels", (32, 32), 2)):
            (tmp_path / "mine" / kind / clip).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, high, shape, np.uint8)
                Image.fromarray(pixels).save(tmp_path / "mine" / kind / clip / f"{i}.png")
    classes = "classes: [{name: ground, color: [0, 0, 0]}, {name: car, color: [9, 9, 9]}]"
    (tmp_path / "mine" / "classes.yaml").write_text(classes)
    network = {"pretrained": None, "crop": [32, 32]}
    config = {
        "data": {"name": "folder", "root": str(tmp_path / "mine"), "val_clips": ["val"], "target_every": 2},
        "cache": {"roots": [str(tmp_path / "store")]},
        "results": str(tmp_path / "results"),
        "teacher": network,
        "student": network,
        "window": {"direction": "both"},
    }
    return tmp_path / "mine", config


def ask(config, *words):
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(config), "--json", *words])
    told = json.loads(done.stdout)
    assert told["fit"] == (done.exit_code == 0)
    return done.exit_code, [
        (f["level"], f["what"], f["found"]) for f in told["findings"] if f["level"] != "ok"
    ]


def test_a_sound_project_needs_no_mending(folder):
    assert ask(folder[1]) == (0, [])
    assert ask(folder[1], "--quick") == (0, [])


def test_crops_that_frames_do_not_fill_are_named(folder):
    config = json.loads(json.dumps(folder[1]))
    config["data"]["shrink"] = 2
    config["student"] |= {"crop": [16, 24], "scale": [0.5, 2]}
    code, ((level, what, found),) = ask(config)
    assert (code, level, what) == (0, "warning", "teacher.crop")
    assert found == (
        "crops of 32x32 px (HxW) are mostly padding: at the middle scale 1, clip a (16x16 px, after "
        "data.shrink 2) fills 25 % of one; this is so for 1 of 1 clips with targets"
    )


def test_crops_of_networks_that_the_run_does_not_train_are_not_looked_at(folder):
    """A detector learns here; student and teacher keep crops of 768 px, which is more than any frame."""
    config = {
        **folder[1],
        "method": "maskconsist",
        "teacher": {},
        "student": {},
        "tags": {"source": "labels"},
    }
    assert not [what for _, what, _ in ask(config)[1] if what.endswith(".crop")]


def test_flow_options_that_cannot_work_are_named(folder):
    code, found = ask({**folder[1], "flow": {"estimator": "flownet2"}})
    assert (code, found[0][:2]) == (1, ("error", "flow.options"))
    assert "fetch FlowNet2_checkpoint.pth.tar" in found[0][2]


def test_damage_to_frames_and_labels_is_named(folder):
    root, config = folder
    Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(root / "frames/a/1.png")
    (root / "frames/val/2.png").write_bytes(b"no image")
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(root / "labels/a/0.png")
    status, told = ask(config)
    text = " ".join(found for _, _, found in told)
    assert status == 1
    assert "1.png: is 16x32 px (HxW)" in text
    assert "2.png: cannot be read" in text
    assert "0.png" in text
    assert "[7]" in text


def test_a_scored_frame_that_was_trained_on_is_an_error(folder):
    root, config = folder
    (root / "frames/val/1.png").write_bytes((root / "frames/a/0.png").read_bytes())
    status, told = ask(config)
    assert status == 1
    assert any(what == "splits" and "a target, and scored" in found for _, what, found in told)


def test_scored_frames_that_train_without_their_label_are_told_unless_they_shall(folder):
    root, config = folder
    (root / "frames/val/1.png").write_bytes((root / "frames/a/1.png").read_bytes())
    (level, what, found), *others = ask(config)[1]
    assert (level, what, others) == ("warning", "splits", [])
    assert "1 of 3 scored frames are also read in training, without their labels and clicks" in found
    data = {**config["data"], "held_out": "other_frames"}
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(root / "frames/val/1.png")
    assert ask({**config, "data": data}) == (0, [])


def test_classes_that_never_occur_are_a_warning(folder):
    root, config = folder
    (root / "classes.yaml").write_text(
        (root / "classes.yaml").read_text(encoding="utf-8")[:-1] + ", {name: boat, color: [1, 1, 1]}]"
    )
    status, told = ask(config)
    assert status == 0
    assert {(level, found) for level, _, found in told} == {("warning", "boat never occurs")}


def test_a_palette_in_another_order_is_a_warning(folder):
    root, config = folder
    image = Image.open(root / "labels/a/0.png")
    image.putpalette([9, 9, 9, 0, 0, 0])
    image.save(root / "labels/a/0.png")
    status, told = ask(config)
    assert status == 0
    assert any("has the colour of car in the files" in found for _, _, found in told)


def test_targets_without_neighbours_are_counted(folder):
    config = {**folder[1], "window": {"direction": "forward"}}
    status, told = ask(config)
    assert status == 0
    assert any(found.startswith("of 2 targets 1 have no neighbour") for _, _, found in told)


def test_published_dropout_in_a_compact_student_that_distils_is_a_warning(folder):
    def warned(student, **sections):
        student = {"pretrained": None, "backbone": "mobilenetv2_compact", **student}
        code, found = ask({**folder[1], "student": student, **sections})
        assert code == 0
        return [what for level, what, text in found if level == "warning" and "published dropout" in text]

    assert warned({}) == ["student.dropout"]
    assert warned({"dropout": 0}) == warned({"dropout": 0.1}) == warned({"backbone": "resnet18"}) == []
    assert warned({}, kd={"weight": 0}) == []


def test_a_teacher_that_knows_no_more_than_the_student_is_a_warning(folder, tmp_path):
    network = {"pretrained": None, "backbone": "resnet18", "channels": 64, "crop": [32, 32]}
    config = {**folder[1], "teacher": network, "student": network}
    (_, found) = ask(config)
    assert [what for _, what, _ in found] == ["teacher"]
    assert "are the same network (deeplabv3plus on resnet18, 64 channels wide)" in found[0][2]
    assert ask({**config, "kd": {"weight": 0}, "mfd": {"weight": 0}}) == (0, [])
    config["teacher"] = {**network, "channels": 128}
    assert ask(config) == (0, [])

    scores = tmp_path / "results" / "evaluation" / "metrics.json"
    scores.parent.mkdir(parents=True)
    figures = dict.fromkeys(("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency"), 0.5)
    on_clicks = {"on_clicks": {"accuracy": 0.75, "clicks": 4}}
    scores.write_text(json.dumps({**figures, **on_clicks, "teacher": on_clicks}), encoding="utf-8")
    ((level, what, text),) = ask(config)[1]
    assert (level, what) == ("warning", "teacher")
    assert text.startswith(f"by {scores} it is no better than the student")
    assert "(clicks hit: 75.0 % and 75.0 %), so distillation has nothing more" in text
    report = tmp_path / "results" / "report.json"
    for root, told in ((config["data"]["root"], ["teacher"]), ("data/toy", [])):
        card = {"config": {"data": {"name": "folder", "root": root}}, "versions": {}}
        report.write_text(json.dumps(card), encoding="utf-8")
        assert [what for _, what, _ in ask(config)[1]] == told
    report.write_text("{", encoding="utf-8")
    assert [what for _, what, _ in ask(config)[1]] == ["results"]
    report.unlink()
    scores.write_text("{}", encoding="utf-8")
    ((level, what, text),) = ask(config)[1]
    assert (level, what) == ("warning", "results")


def test_a_backbone_of_timms_is_looked_at(folder, monkeypatch):
    def errors(**teacher):
        _, found = ask({**folder[1], "teacher": {"pretrained": None, **teacher}})
        return [(what, text) for level, what, text in found if level == "error"]

    assert errors(backbone="timm/test_efficientnet") == []
    ((what, text),) = errors(backbone="timm/test_eficientnet")
    assert what == "teacher.backbone"
    assert "did you mean timm/test_efficientnet" in text
    ((what, text),) = errors(backbone="timm/densenet121")
    assert "output_stride is 16, but timm/densenet121 offers 32" in text
    ((what, text),) = errors(backbone="timm/test_resnet", pretrained="none.safetensors")
    assert (what, text) == ("teacher.pretrained", "there is no file none.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    ((what, text),) = errors(backbone="timm/test_efficientnet", pretrained="imagenet")
    assert "needs timm, but that is not installed; run `pip install 'weclick[timm]'`" in text


def test_a_crf_needs_its_package(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    _, found = ask({**folder[1], "evaluate": {"crf": "irn"}})
    ((what, text),) = [(what, text) for level, what, text in found if level == "error"]
    assert what == "evaluate.crf"
    assert "evaluate.crf is irn, which needs pydensecrf2, but that is not installed" in text


def test_a_watcher_needs_its_package(folder, monkeypatch):
    monkeypatch.setattr("weclick.train.watch.packages.find_spec", lambda package: None)
    status, found = ask({**folder[1], "watch": {"to": ["wandb"]}})
    (told,) = (text for level, what, text in found if (level, what) == ("error", "watch"))
    assert status == 1
    assert "watch.to names wandb, but wandb is not installed; run `pip install 'weclick[wandb]'`" in told


def test_a_frozen_classifier_without_weights_is_a_warning(folder):
    def warned(method, **classifier):
        classifier = {"pretrained": None, **classifier}
        _, found = ask({**folder[1], "method": method, "classifier": classifier})
        return [text for level, what, text in found if what == "classifier.freeze"]

    (told,) = warned("f2f")
    assert told.startswith(
        "is true, but classifier.pretrained is null: a head would learn on random features"
    )
    assert warned("f2f", freeze=False) == warned("weclick") == []


def test_batch_norm_that_keeps_statistics_of_random_weights_is_a_warning(folder):
    def warned(**teacher):
        _, found = ask({**folder[1], "teacher": teacher})
        return [text for level, what, text in found if (level, what) == ("warning", "teacher.batch_norm")]

    (told,) = warned(pretrained=None, batch_norm="frozen")
    assert told.startswith(
        "is frozen, but teacher.pretrained is null: random weights have no statistics to keep"
    )
    assert warned(pretrained=None) == warned(pretrained="imagenet", batch_norm="frozen") == []


def test_missing_weights_and_a_wrong_configuration_are_errors(folder):
    status, told = ask({**folder[1], "student": {"pretrained": "none.pth"}})
    assert (status, told[0][1:]) == (1, ("student.pretrained", "there is no file none.pth"))
    status, told = ask({"student": {"step": 1}})
    assert status == 1
    assert "did you mean 'steps'" in told[0][2]


def test_weights_of_another_network_are_an_error_before_a_training_loads_them(folder, tmp_path):
    given = tmp_path / "other.safetensors"
    save_file({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, given)
    _, found = ask({**folder[1], "student": {"pretrained": str(given), "backbone": "mobilenetv2_compact"}})
    ((what, text),) = [(what, text) for level, what, text in found if level == "error"]
    assert what == "student.pretrained"
    assert text.startswith(f"{given}: does not fit backbone mobilenetv2_compact: ")
    given.write_bytes(b"cut")
    _, found = ask({**folder[1], "student": {"pretrained": str(given)}})
    ((what, text),) = [(what, text) for level, what, text in found if level == "error"]
    assert (what, "cannot be read as .safetensors" in text) == ("student.pretrained", True)


def test_a_toy_that_is_not_drawn_does_not_fail(tmp_path):
    config = {"data": {"root": str(tmp_path / "toy")}, "teacher": {"pretrained": None}}
    status, told = ask(config)
    assert status == 0
    assert any("not yet drawn" in found for _, _, found in told)


def test_labels_without_a_pixel_to_score_are_an_error(folder):
    root, config = folder
    for path in (root / "labels/val").iterdir():
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(path)
    code, told = ask(config)
    assert code == 1
    assert any("not one pixel of the 3 scored labels of split 'val'" in found for _, _, found in told)


def test_labels_without_a_pixel_to_click_on_are_an_error(folder):
    """As the run says it; the classes that never occur are not told a second time."""
    for path in (folder[0] / "labels/a").iterdir():
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(path)
    status, told = ask(folder[1])
    assert status == 1
    assert [level for level, _, _ in told] == ["warning", "error"]
    assert "all labels hold 255 alone" in told[0][2]
    assert "not one pixel of all 2 has a class, so there is nothing to click on" in told[1][2]


def test_the_last_line_claims_what_was_looked_at(folder):
    root, config = folder
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(config)])
    assert "nothing to mend in what was looked at, 0 warnings" in done.stdout
    assert "all 3 images are readable and of one size a clip" in done.stdout
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(config), "--quick"])
    assert "of frames and labels a sample was read" in done.stdout
    (root / "frames/a/1.png").write_bytes(b"no image")
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(config)])
    assert "1 to mend, 0 warnings" in done.stdout


def test_of_videos_it_says_that_they_were_opened(folder):
    from fractions import Fraction

    from weclick.manifest.video import video_writer

    root, config = folder
    for name in ("videos", "labels/film"):
        (root / name).mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "labels/film/00000.png")
    with video_writer(root / "videos/film.mp4", Fraction(5)) as write:
        for _ in range(3):
            write(np.zeros((32, 32, 3), np.uint8))
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(config)])
    assert "1 of 1 videos can be opened; not all of their frames were decoded" in done.stdout


def with_clicks(folder, *rows):
    root, config = folder
    table = root / "clicks.csv"
    table.write_text("\n".join(("clip,frame,y,x,class", *rows)), encoding="utf-8")
    return {**config, "data": {**config["data"], "clicks": str(table)}}


@pytest.mark.parametrize(
    ("row", "level", "told"),
    [
        ("a,2,9,9,Car", "error", "line 4: class 'Car' is unknown; did you mean 'car'?"),
        ("a,2,9,99,car", "error", "line 4: x = 99 lies outside the frame, expected 0..31 px"),
        (
            "a,0,5,6,ground",
            "error",
            "line 4: gives the pixel (y 5, x 6) of clip 'a', frame '0'",
        ),
        ("a,0,5%,6,ground", "error", "line 4: y = 5% is per cent"),
        ("a,0,5,6,car", "warning", "1 fault: line 4 repeats line 2"),
    ],
)
def test_the_click_table_is_read_as_a_run_reads_it(folder, row, level, told):
    sound = ("a,0,5,6,car", "a,0,20,20,ground")
    status, found = ask(with_clicks(folder, *sound))
    assert (status, [text for _, _, text in found]) == (0, ["under 20 clicks: ground 1, car 1"])
    _, found = ask(with_clicks(folder, *sound, row))
    assert [each for each, _, text in found if told in text] == [level]


def test_a_class_without_a_click_is_a_warning(folder):
    _, found = ask(with_clicks(folder, "a,0,5,6,car"))
    assert ["under 20 clicks: car 1; no click: ground" in text for _, _, text in found] == [True]


def test_clicks_without_a_mask_train_and_what_is_scored_is_told(folder):
    root, _ = folder
    for path in (root / "labels").rglob("*.png"):
        path.unlink()
    status, found = ask(with_clicks(folder, "a,0,5,6,car", "a,0,20,20,ground"))
    assert status == 0
    found = [each for each in found if "under 20 clicks" not in each[2]]
    assert [(level, what) for level, what, _ in found] == [("warning", "split val")]
    assert "its 1 clip has no labelled or clicked frame, so nothing can be scored" in found[0][2]


def test_labels_of_a_video_are_held_against_its_size(folder):
    from fractions import Fraction

    from weclick.manifest.video import video_writer

    root, config = folder
    with video_writer(root / "videos" / "street.mp4", Fraction(25)) as write:
        for _ in range(3):
            write(np.zeros((64, 64, 3), np.uint8))
    (root / "labels" / "street").mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "labels" / "street" / "00000.png")
    status, found = ask(config)
    assert status == 1
    assert any("00000.png: is 32x32 px (HxW), its frame 64x64" in text for _, _, text in found)


def test_targets_that_lack_the_label_that_supervision_wants_are_told(folder):
    root, config = folder
    assert ask({**config, "supervision": "masks"}) == (0, [])
    (root / "clicks.csv").write_text("clip,frame,y,x,class\na,0,3,4,ground\na,2,3,4,car\n")
    clicked = {**config, "data": {**config["data"], "clicks": str(root / "clicks.csv")}}
    (root / "labels/a/2.png").unlink()
    status, found = ask({**clicked, "supervision": "masks"})
    (text,) = (text for level, what, text in found if (level, what) == ("error", "masks"))
    assert status == 1
    assert "1 of 2 targets of split 'train' have no label, e.g. frame 2 of clip a" in text
    status, found = ask({**clicked, "supervision": "both"})
    assert (status, {what for _, what, _ in found}) == (0, {"clicks of train"})
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(root / "labels/a/0.png")
    status, found = ask(clicked)
    told = "the labels of clicked targets are not read"
    assert (status, {what for _, what, _ in found}) == (0, {"clicks of train"}), told
    status, told = ask({**clicked, "supervision": "both"})
    assert status == 1
    assert any(what == "labels of train" and "0.png" in found for _, what, found in told)


def test_what_is_served_has_to_be_decided_before_frames_are_packed(folder):
    def served(**given):
        done = CliRunner().invoke(
            cli.app, ["doctor", "--config", json.dumps({**folder[1], **given}), "--json", "--quick"]
        )
        return next(each for each in json.loads(done.stdout)["findings"] if each["what"] == "serves")

    told = served()
    assert (told["level"], told["found"][:49]) == ("ok", "manifest, frames and flow are made for weclick; i")
    assert "to try other methods, too, name them in `serves` now" in told["found"]
    assert "packed" not in served(frames={"pack": False})["found"]
    assert served(method="f2f", serves=["weclick"])["level"] == "error"
