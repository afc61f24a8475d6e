"""Weights that cannot be downloaded are told of before anything runs."""

import http.server
import json
import sys
import threading

import pytest
import torch
from typer.testing import CliRunner

from weclick import cli
from weclick.common.config import complete_config
from weclick.models import build_model
from weclick.runs import downloads
from weclick.runs.downloads import Download, missing_packages, needed_downloads, offline_words

RAFT = {"estimator": "raft", "options": {"model": "large"}}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for downloads, and a network that leads nowhere."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the port that discards; nobody listens
    return tmp_path / "torch/hub/checkpoints"


def config(**sections):
    network = {"pretrained": None}
    return complete_config({"teacher": network, "student": network, **sections})


def test_what_is_there_or_needs_no_file_is_no_download(hub):
    assert needed_downloads(config()) == []
    wanted = config(teacher={"pretrained": "imagenet", "backbone": "resnet18"}, flow=RAFT)
    network, flow = needed_downloads(wanted)
    assert network.option == "teacher.pretrained"
    assert network.path == hub / "resnet18-f37072fd.pth"
    assert flow.path.name == "raft_large_C_T_SKHT_V2-ff5fadd5.pth"
    for download in (network, flow):
        download.path.parent.mkdir(parents=True, exist_ok=True)
        download.path.touch()
    assert needed_downloads(wanted) == []


def test_each_option_says_where_to_put_its_file(hub):
    teacher = {"pretrained": "imagenet", "backbone": "resnet101"}
    student = {"pretrained": "imagenet", "backbone": "mobilenetv2_compact"}
    told = offline_words(config(teacher=teacher, student=student, flow=RAFT))
    assert [text.split(":")[0] for text in told] == [
        "teacher.pretrained",
        "student.pretrained",
        "flow.options.weights",
    ]
    for text in told:
        assert f"put it into {hub}/" in text
        assert "download.pytorch.org cannot be reached" in text
    assert [text.endswith(", or to null to begin with random weights") for text in told] == [
        True,
        True,
        False,
    ]


def test_weights_of_imagenets_classes_are_needed_where_they_make_maps(hub):
    """And of EfficientNet-Lite0 they are timm's, under torch's folder."""
    cams = {"source": "imagenet", "mapping": {"car": [817]}}
    networks = {role: {"pretrained": None} for role in ("classifier", "student")}
    wanted = config(method="f2f", cams=cams, **networks)
    (download,) = needed_downloads(wanted)
    assert download.option == "cams.pretrained"
    assert download.path == hub / "tf_efficientnet_lite0-0aa007d2.pth"
    assert offline_words(wanted)[0].endswith("set cams.pretrained to a file that you have"), (
        "null is no choice"
    )
    some = config(method="f2f", cams={"sources": {"car": "iconic"}}, **networks)
    assert [each.option for each in needed_downloads(some)] == ["cams.pretrained"]
    assert needed_downloads(config(cams=cams, **networks)) == [], "WeClick's method makes no maps"
    assert needed_downloads(config(method="f2f", **networks)) == [], "the run's classifier makes them"


def test_timms_weights_have_no_place_but_an_address(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    wanted = config(teacher={"pretrained": "imagenet", "backbone": "timm/tf_efficientnet_lite0"})
    (download,) = needed_downloads(wanted)
    assert download.path is None
    (text,) = offline_words(wanted)
    address = "https://huggingface.co/timm/tf_efficientnet_lite0.in1k/resolve/main/model.safetensors"
    assert f"fetch {address} on a connected machine and set teacher.pretrained to a file" in text
    unknown = config(teacher={"pretrained": "imagenet", "backbone": "timm/no_such_network"})
    assert needed_downloads(unknown) == []
    assert missing_packages(wanted) == []
    monkeypatch.setitem(sys.modules, "timm", None)
    assert needed_downloads(wanted) == []
    (text,) = missing_packages(wanted)
    assert "teacher.backbone is timm/tf_efficientnet_lite0, which needs timm" in text


def test_the_crf_needs_its_package(monkeypatch):
    wanted = config(evaluate={"crf": "irn"})
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    (text,) = missing_packages(wanted)
    assert "evaluate.crf is irn, which needs pydensecrf2, but that is not installed" in text
    assert missing_packages(config()) == []


def test_a_server_that_answers_is_no_fault(monkeypatch, tmp_path):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200 if self.path == "/there.pth" else 404)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, told in (("there", ""), ("gone", "it answers 404")):
        wanted = Download("teacher.pretrained", f"{address}/{name}.pth", tmp_path / "none")
        monkeypatch.setattr(downloads, "needed_downloads", lambda config, wanted=wanted: [wanted])
        (text,) = offline_words(config()) or [""]
        assert told in text
        assert bool(text) == bool(told)
    server.shutdown()
    server.server_close()


def test_doctor_and_the_network_itself_say_so(hub, tmp_path):
    asked = {"data": {"root": str(tmp_path / "toy")}, "teacher": {"pretrained": "imagenet"}}
    done = CliRunner().invoke(cli.app, ["doctor", "--config", json.dumps(asked), "--json"])
    found = [f for f in json.loads(done.stdout)["findings"] if f["what"] == "download"]
    assert {f["level"] for f in found} == {"warning"}
    assert all(f"put it into {hub}/" in f["found"] for f in found)
    with pytest.raises(ValueError, match=rf"could not be downloaded .*put it into {hub}/"):
        build_model("deeplabv3plus", "resnet18", 2, pretrained="imagenet")
    assert torch.hub.get_dir() == str(hub.parent)


def test_only_networks_that_the_run_trains_are_asked_for(hub):
    asked = {
        method: {each.option for each in needed_downloads(complete_config({"method": method}))}
        for method in ("weclick", "f2f")
    }
    assert asked["weclick"] == {"teacher.pretrained", "student.pretrained"}
    assert asked["f2f"] == {"classifier.pretrained", "student.pretrained"}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [("tags", ["classifier.pretrained"]), ("iconic", ["cams.pretrained"]), ("imagenet", ["cams.pretrained"])],
)
def test_a_classifier_that_is_not_trained_needs_no_weights(hub, source, wanted):
    given = config(method="f2f", cams={"source": source, "iconic": "."}, classifier={"backbone": "resnet18"})
    assert [each.option for each in needed_downloads(given)] == wanted
