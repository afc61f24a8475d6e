"""The two file formats of flow, byte by byte against files that other tools wrote."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from helpers.places import SHARED
from weclick.flow import read_flo, read_kitti_flow, write_flo, write_kitti_flow

REFERENCE = SHARED / "reference" / "flow_files_reference"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the reference files are not beside this checkout"
)


@pytest.fixture
def flow() -> np.ndarray:
    """(2, 5, 7): a height, a width and two components that cannot be confused."""
    return np.random.default_rng(0).uniform(-40, 40, (2, 5, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "flow.npz") as arrays:
        return {
            name: np.moveaxis(array, 2, 0) if array.ndim == 3 else array for name, array in arrays.items()
        }


class TestFlo:
    def test_round_trip_is_exact(self, flow, tmp_path):
        write_flo(tmp_path / "a.flo", flow)
        back = read_flo(tmp_path / "a.flo")
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, flow)

    def test_bytes_are_as_the_format_says(self, tmp_path):
        write_flo(tmp_path / "a.flo", np.array([[[1.0, 2.0]], [[3.0, 4.0]]], np.float32))
        data = (tmp_path / "a.flo").read_bytes()
        assert data[:12] == b"PIEH" + bytes([2, 0, 0, 0, 1, 0, 0, 0])
        assert np.frombuffer(data[12:], "<f4").tolist() == [1, 3, 2, 4]

    @needs_reference
    def test_a_file_of_another_tool(self, reference, tmp_path):
        np.testing.assert_array_equal(read_flo(REFERENCE / "flow.flo"), reference["flow"])
        write_flo(tmp_path / "ours.flo", reference["flow"])
        assert (tmp_path / "ours.flo").read_bytes() == (REFERENCE / "flow.flo").read_bytes()

    def test_opencv_reads_ours(self, flow, tmp_path):
        write_flo(tmp_path / "a.flo", flow)
        np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "a.flo")), flow.transpose(1, 2, 0))

    def test_damaged_files_are_explained(self, flow, tmp_path):
        path = tmp_path / "a.flo"
        write_flo(path, flow)
        whole = path.read_bytes()
        path.write_bytes(whole[:-4])
        with pytest.raises(ValueError, match=r"288 bytes, but its header says 7x5 px .* needs 292"):
            read_flo(path)
        path.write_bytes(b"\x89PNG" + whole[4:])
        with pytest.raises(ValueError, match=r"a\.flo: begins with .*, but a .flo file begins with 202021"):
            read_flo(path)
        path.write_bytes(b"")
        with pytest.raises(ValueError, match="has 0 bytes only"):
            read_flo(path)

    def test_channels_last_is_refused(self, flow, tmp_path):
        with pytest.raises(ValueError, match=r"shape \(5, 7, 2\), expected \(2, H, W\)"):
            write_flo(tmp_path / "a.flo", flow.transpose(1, 2, 0))


class TestKitti:
    def test_round_trip_is_within_half_a_step(self, flow, tmp_path):
        valid = np.arange(35).reshape(5, 7) % 3 > 0
        write_kitti_flow(tmp_path / "a.png", flow, valid)
        back, back_valid = read_kitti_flow(tmp_path / "a.png")
        np.testing.assert_array_equal(back_valid, valid)
        assert np.abs(back - flow)[:, valid].max() <= 1 / 128
        assert not back[:, ~valid].any()

    @needs_reference
    def test_we_round_as_the_rounded_reference(self, reference, tmp_path):
        write_kitti_flow(tmp_path / "ours.png", reference["flow"], reference["valid"] > 0)
        ours, theirs = (
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in (tmp_path / "ours.png", REFERENCE / "flow_kitti_rounded.png")
        )
        np.testing.assert_array_equal(ours, theirs)

    @needs_reference
    def test_files_of_other_tools(self, reference):
        valid = reference["valid"] > 0
        flow, read_valid = read_kitti_flow(REFERENCE / "flow_kitti_rounded.png")
        np.testing.assert_array_equal(read_valid, valid)
        np.testing.assert_array_equal(flow[:, valid], reference["kitti_decoded_rounded"][:, valid])
        cut_down, _ = read_kitti_flow(REFERENCE / "flow_kitti_truncated.png")
        assert 0 < np.abs(cut_down - reference["flow"])[:, valid].max() < 1 / 64

    def test_what_does_not_fit_is_refused_unless_it_is_invalid(self, flow, tmp_path):
        flow[0, 2, 3], flow[1, 0, 0] = 600, np.nan
        with pytest.raises(ValueError, match=r"2 values such as 600.0 px do not fit .* mark them invalid"):
            write_kitti_flow(tmp_path / "a.png", flow)
        valid = np.ones((5, 7), bool)
        valid[2, 3] = valid[0, 0] = False
        write_kitti_flow(tmp_path / "a.png", flow, valid)
        assert not read_kitti_flow(tmp_path / "a.png")[1][2, 3]

    def test_other_images_are_refused(self, tmp_path):
        cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((4, 4), np.uint8))
        with pytest.raises(ValueError, match=r"grey.png: holds uint8 of shape \(4, 4\), but a KITTI flow"):
            read_kitti_flow(tmp_path / "grey.png")
        with pytest.raises(ValueError, match=r"none.png: cannot be read as an image"):
            read_kitti_flow(tmp_path / "none.png")

    def test_a_missing_folder_is_told(self, flow, tmp_path):
        with pytest.raises(ValueError, match="cannot be written; does its folder exist"):
            write_kitti_flow(tmp_path / "no" / "a.png", flow)
