"""Flow estimators: which way flows point, how good they are, and what is said about wrong options."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.optical_flow import _utils, raft_large, raft_small

from helpers.places import SHARED
from weclick.flow import build_estimator, estimator_digest, read_flo, read_kitti_flow
from weclick.flow.dis import coarsest_scale
from weclick.flow.raft import last_flow
from weclick.geometry import backward_warp, backward_warp_nearest
from weclick.manifest.images import read_ids, read_image

DATA = SHARED / "data"


def needs(folder: str) -> Path:
    if not (DATA / folder).is_dir():
        pytest.skip(f"the real data {folder} are not beside this checkout")
    return DATA / folder


def load(path: Path) -> Tensor:
    return torch.from_numpy(read_image(path).copy()).permute(2, 0, 1)[None]


def moved_texture(dx: int, dy: int, size: tuple[int, int] = (160, 240)) -> tuple[Tensor, Tensor]:
    """(target, neighbour): what is at (x, y) in the target is at (x + dx, y + dy) in the neighbour."""
    noise = np.random.default_rng(0).normal(size=(size[0] + 40, size[1] + 40, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    image = np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)

    def window(top: int, left: int) -> Tensor:
        cut = image[top : top + size[0], left : left + size[1]]
        return torch.from_numpy(cut.copy()).permute(2, 0, 1)[None]

    return window(20, 20), window(20 - dy, 20 - dx)


def grey_error(target: Tensor, neighbour: Tensor, flow: Tensor) -> float:
    warped, valid = backward_warp(neighbour.float(), flow)
    return float((warped - target).abs().mean(1, keepdim=True)[valid].mean())


@pytest.fixture(scope="module")
def dis():
    return build_estimator("dis")


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory) -> Path:
    """Weights drawn at random, as a file: they carry no flow, but all else is as with real ones."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


class TestConvention:
    @pytest.mark.parametrize("shift", [(5, 0), (0, 4), (-6, 3), (2, -7)])
    def test_flow_points_from_target_to_neighbour(self, dis, shift):
        flow = dis.estimate(*moved_texture(*shift))
        assert (flow.shape, flow.dtype) == ((1, 2, 160, 240), torch.float32)
        inner = flow[0, :, 16:-16, 16:-16]
        error = (inner - torch.tensor(shift).view(2, 1, 1)).norm(dim=0)
        assert error.mean() < 0.2

    def test_a_warp_beats_the_identity_and_the_reversed_flow_does_not(self, dis):
        target, neighbour = moved_texture(4, 2)
        flow = dis.estimate(target, neighbour)
        right = grey_error(target, neighbour, flow)
        identity = grey_error(target, neighbour, torch.zeros_like(flow))
        assert right < 0.1 * identity
        assert grey_error(target, neighbour, dis.estimate(neighbour, target)) > identity

    @pytest.mark.parametrize("clip", ["dog", "car-shadow"])
    def test_so_it_does_on_real_frames(self, dis, clip):
        folder = needs("davis") / "frames" / clip
        target, neighbour = load(folder / "00011.jpg"), load(folder / "00010.jpg")
        flow = dis.estimate(target, neighbour)
        right = grey_error(target, neighbour, flow)
        identity = grey_error(target, neighbour, torch.zeros_like(flow))
        reversed_flow = grey_error(target, neighbour, dis.estimate(neighbour, target))
        assert right < 0.6 * identity
        assert reversed_flow > identity

    def test_real_labels_follow_the_flow(self, dis):
        camvid = needs("camvid")
        stems = [f"0016E5_{number:05}" for number in (7999, 8003)]
        neighbour, target = (load(camvid / "val" / f"{stem}.jpg") for stem in stems)
        label, truth = (
            torch.from_numpy(read_ids(camvid / "valannot" / f"{stem}.png").copy()) for stem in stems
        )

        def agreement(flow: Tensor) -> float:
            warped, _ = backward_warp_nearest(label[None, None], flow)
            return float((warped[0, 0] == truth).float().mean())

        flow = dis.estimate(target, neighbour)
        identity = agreement(torch.zeros_like(flow))
        assert agreement(flow) > identity + 0.02
        assert agreement(dis.estimate(neighbour, target)) < identity


class TestDis:
    def test_end_point_error_on_flyingchairs(self, dis):
        folder = needs("flyingchairs_gt")
        errors, motions = [], []
        for stem in ("00001", "00002", "00003"):
            truth = torch.from_numpy(read_flo(folder / f"{stem}_flow.flo"))
            flow = dis.estimate(load(folder / f"{stem}_img1.png"), load(folder / f"{stem}_img2.png"))[0]
            errors.append(float((flow - truth).norm(dim=0).mean()))
            motions.append(float(truth.norm(dim=0).mean()))
        assert np.mean(motions) == pytest.approx(3.73, abs=0.01)
        assert np.mean(errors) == pytest.approx(2.12, abs=0.1)

    def test_end_point_error_on_a_fast_kitti_pair(self, dis):
        folder = needs("kitti2015_flow_pair")
        truth, valid = map(torch.from_numpy, read_kitti_flow(folder / "flow_occ_000000_10.png"))
        flow = dis.estimate(load(folder / "image_2_000000_10.png"), load(folder / "image_2_000000_11.png"))[0]
        assert float(truth.norm(dim=0)[valid].mean()) == pytest.approx(51.0, abs=0.1)
        assert float((flow - truth).norm(dim=0)[valid].mean()) == pytest.approx(38.5, abs=1.5)

    def test_neither_batch_nor_threads_change_the_flow(self, dis):
        pairs = [moved_texture(*shift) for shift in ((3, 1), (-2, 4), (0, -5))]
        alone = torch.cat([dis.estimate(*pair) for pair in pairs])
        threads = torch.get_num_threads()
        try:
            cv2.setNumThreads(4)
            torch.set_num_threads(2)
            together = dis.estimate(*(torch.cat(images) for images in zip(*pairs, strict=True)))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(alone, together)
        assert cv2.getNumThreads() == 1

    @pytest.mark.parametrize("size", [(1, 1), (5, 40), (12, 300), (16, 200), (31, 33), (64, 1500)])
    @pytest.mark.parametrize("finest_scale", [None, 0, 5])
    def test_small_and_narrow_images_neither_fail_nor_end_the_process(self, size, finest_scale):
        flow = build_estimator("dis", finest_scale=finest_scale).estimate(*moved_texture(1, 0, size))
        assert flow.shape == (1, 2, *size)
        assert torch.isfinite(flow).all()

    def test_the_coarsest_scale_is_that_of_opencv(self):
        assert [coarsest_scale(*size) for size in ((32, 32), (360, 480), (64, 1500))] == [0, 4, 3]

    def test_a_finer_scale_changes_the_flow_and_the_digest(self, dis):
        finer = build_estimator("dis", finest_scale=0)
        assert finer.digest != dis.digest
        pair = moved_texture(3, 1)
        assert not torch.equal(finer.estimate(*pair), dis.estimate(*pair))

    def test_no_pairs_give_no_flow(self, dis):
        nothing = torch.zeros((0, 3, 40, 50), dtype=torch.uint8)
        assert dis.estimate(nothing, nothing).shape == (0, 2, 40, 50)


class TestRaft:
    @pytest.mark.parametrize("size", [(40, 61), (130, 141), (128, 136)])
    def test_any_size_is_padded_by_its_border_and_cropped_back(self, raft_weights, size):
        target, neighbour = moved_texture(2, 1, size)
        flow = build_estimator("raft", weights=str(raft_weights), updates=2).estimate(target, neighbour)
        network = raft_small(weights=None).eval()
        network.load_state_dict(torch.load(raft_weights, weights_only=True))
        sides = [-(-max(side, 128) // 8) * 8 for side in size]
        pad = nn.ReplicationPad2d((0, sides[1] - size[1], 0, sides[0] - size[0]))
        with torch.inference_mode():
            pair = [pad(images.float() / 255 * 2 - 1) for images in (target, neighbour)]
            expected = network(*pair, num_flow_updates=2)[-1][..., : size[0], : size[1]]
        assert flow.shape == (1, 2, *size)
        torch.testing.assert_close(flow, expected, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("model", [raft_small, raft_large])
    def test_the_last_flow_alone_is_brought_to_the_images_size(self, model, monkeypatch):
        torch.manual_seed(0)
        network = model(weights=None).eval()
        pair = [images.float() / 127.5 - 1 for images in moved_texture(3, 1, (128, 136))]
        pair = [torch.cat([images, images.flip(-1)]) for images in pair]
        with torch.no_grad():
            expected = network(*pair, num_flow_updates=3)[-1]
            sizes = []
            upsample = _utils.upsample_flow

            def counted(flow, up_mask=None):
                sizes.append(flow.shape)
                return upsample(flow, up_mask)

            monkeypatch.setattr(_utils, "upsample_flow", counted)
            assert torch.equal(last_flow(network, *pair, 3), expected)
        assert sizes == [(2, 2, 16, 17)]

    def test_safetensors_and_pth_give_the_same_flow(self, raft_weights, tmp_path):
        other = tmp_path / "raft_small.safetensors"
        save_file(torch.load(raft_weights, weights_only=True), other)
        pair = moved_texture(2, 1, (128, 128))
        flows = [
            build_estimator("raft", weights=str(path), updates=1).estimate(*pair)
            for path in (raft_weights, other)
        ]
        assert torch.equal(*flows)

    def test_the_digest_holds_the_content_of_the_weights_and_not_their_path(self, raft_weights, tmp_path):
        copy = tmp_path / "copy.pth"
        copy.write_bytes(raft_weights.read_bytes())
        first, second = (estimator_digest("raft", weights=str(path)) for path in (raft_weights, copy))
        assert first == second
        assert len(first["weights_sha256"]) == 64
        assert build_estimator("raft", weights=str(copy)).digest == first
        assert estimator_digest("raft", weights=str(copy), updates=4) != first

    def test_default_weights_are_torchvisions_and_bring_their_licence(self, raft_weights, monkeypatch):
        state = torch.load(raft_weights, weights_only=True)
        asked = []
        monkeypatch.setattr(
            torch.hub, "load_state_dict_from_url", lambda url, **_: asked.append(url) or state
        )
        raft = build_estimator("raft")
        assert "01064c6d" in asked[0]
        assert raft.digest["weights_sha256"] == "01064c6d"
        assert "research" in raft.licence

    def test_cached_default_weights_are_compared_with_their_digest(self, raft_weights, tmp_path, monkeypatch):
        """Torch compares them at the download alone."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        cached = tmp_path / "hub" / "checkpoints" / "raft_small_C_T_V2-01064c6d.pth"
        cached.parent.mkdir(parents=True)
        cached.write_bytes(raft_weights.read_bytes())
        with pytest.raises(ValueError, match=r"01064c6d\.pth: its SHA-256 is .* with 01064c6d; .*delete"):
            build_estimator("raft")

    def test_a_failed_download_tells_what_to_do(self, monkeypatch):
        def fail(url, **_):
            raise OSError("no network")

        monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
        with pytest.raises(FileNotFoundError, match=r"cannot download https.*set flow\.options\.weights"):
            build_estimator("raft")

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_a_gpu_gives_the_same_flow(self, raft_weights):
        pair = moved_texture(2, 1, (130, 141))
        flows = [
            build_estimator("raft", weights=str(raft_weights), updates=2, device=device).estimate(*pair)
            for device in ("cpu", "cuda")
        ]
        assert flows[1].is_cuda
        torch.testing.assert_close(flows[0], flows[1].cpu(), atol=0.05, rtol=0.05)


class TestErrors:
    def test_unknown_estimators_are_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"flow.estimator is 'farneback', expected one of dis, .*raft"):
            build_estimator("farneback")

    def test_unknown_options_are_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match=r"'presett'.* options of dis are preset, finest_scale"):
            estimator_digest("dis", presett="fast")

    @pytest.mark.parametrize(
        ("name", "options", "text"),
        [
            ("dis", {"preset": "slow"}, "preset is 'slow', expected one of ultrafast, fast, medium"),
            ("dis", {"finest_scale": -1}, "finest_scale is -1, expected 0"),
            ("raft", {"model": "huge"}, "model is 'huge', expected small or large"),
            ("raft", {"updates": 0}, "updates is 0, expected a whole number"),
        ],
    )
    def test_impossible_values_are_named(self, name, options, text):
        with pytest.raises(ValueError, match=text):
            estimator_digest(name, **options)

    @pytest.mark.parametrize("weights", ["random", "no/such/file.pth"])
    def test_there_are_no_random_weights_and_no_missing_ones(self, weights):
        with pytest.raises(FileNotFoundError, match=r"is no file; .*no random weights"):
            build_estimator("raft", weights=weights)

    def test_weights_of_another_model_are_refused(self, raft_weights):
        with pytest.raises(ValueError, match=r"entries are not as in torchvision's raft_large, such as"):
            build_estimator("raft", model="large", weights=str(raft_weights))

    @pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
    def test_what_is_no_weights_file_is_refused(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(ValueError, match=r"broken\.\w+: cannot be read as weights"):
            build_estimator("raft", weights=str(tmp_path / name))

    def test_a_checkpoint_is_no_plain_state_dict(self, raft_weights, tmp_path):
        path = tmp_path / "checkpoint.pth"
        torch.save({"epoch": 3, "network": {}}, path)
        with pytest.raises(ValueError, match="no plain state dict"):
            build_estimator("raft", weights=str(path))
