"""A TensorRT engine from the ONNX file that `weclick export` wrote, for the GPU of this machine.

    weclick export --output exported
    python deploy/tensorrt_engine.py exported/model.onnx exported/model.engine --largest 1 512 1024 --fp16

It needs the package tensorrt (10 or later) and no weclick. The engine takes images of up to the largest size,
and is fastest at it. It runs on this kind of GPU and with this version of TensorRT only. Take model.onnx, not
model.int8.onnx: TensorRT asks for signed activations in int8.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tensorrt as trt

SMALLEST_PX = 32


def main() -> None:
    """Build the engine and write it."""
    options = parse_options()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(options.onnx)):
        faults = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise SystemExit(f"{options.onnx}: TensorRT cannot read it ({faults}); export it with --size HxW")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    batch, height, width = options.largest
    for given in (network.get_input(number) for number in range(network.num_inputs)):
        largest = [batch, given.shape[1], height, width]
        free = [1, given.shape[1], SMALLEST_PX, SMALLEST_PX]
        smallest, largest = (
            tuple(side if own < 0 else own for side, own in zip(sides, given.shape, strict=True))
            for sides in (free, largest)
        )
        profile.set_shape(given.name, smallest, largest, largest)
    config.add_optimization_profile(profile)
    if options.fp16:
        config.set_flag(trt.BuilderFlag.FP16)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SystemExit(f"{options.onnx}: TensorRT built no engine; its lines above say why")
    options.engine.write_bytes(engine)
    print(f"written to {options.engine}")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("onnx", type=Path, help="model.onnx of `weclick export`")
    add("engine", type=Path, help="file to write")
    add("--largest", type=int, nargs=3, default=(1, 512, 1024), metavar=("B", "H", "W"), help="batch, and px")
    add("--fp16", action="store_true", help="compute in float16 where that is faster; logits differ a little")
    return parser.parse_args()


if __name__ == "__main__":
    main()
