"""GPUs up to the point where a device is needed: options for ONNX Runtime, and the report of the provider in use."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
import pytest

from medzoo.errors import UserError
from medzoo.runtime.backends.devices import GpuOptions, cuda_usable, default_engine_cache, device_in_use
from medzoo.runtime.backends.onnx import OnnxBackend
from tests.unit.serve.graphs import write_graph


def test_the_order_and_the_options_of_the_providers(tmp_path: Path) -> None:
    options = GpuOptions(
        device_id=1, memory_limit=1 << 30, cuda_graphs=True, engine_cache=tmp_path / "engines", fp16=True
    )
    (tensorrt, engine), (cuda, facts), last = options.providers(tensorrt=True)
    assert [tensorrt, cuda, last] == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert engine["device_id"] == facts["device_id"] == 1
    assert facts["gpu_mem_limit"] == engine["trt_max_workspace_size"] == 1 << 30
    assert facts["enable_cuda_graph"]
    assert facts["use_tf32"] is False
    assert engine["trt_cuda_graph_enable"]
    assert engine["trt_fp16_enable"]
    assert engine["trt_engine_cache_path"] == str(tmp_path / "engines")
    assert (tmp_path / "engines").is_dir()
    assert facts["cudnn_conv_algo_search"] == "EXHAUSTIVE"  # of shapes that repeat
    assert [one if isinstance(one, str) else one[0] for one in GpuOptions().providers(tensorrt=False)] == [cuda, last]


def test_the_search_for_algorithms_of_convolutions() -> None:
    (_, facts), _ = GpuOptions().providers(tensorrt=False)
    assert (facts["cudnn_conv_algo_search"], facts["prefer_nhwc"]) == ("HEURISTIC", False)
    (_, facts), _ = GpuOptions(convolutions="default", nhwc=True, cuda_graphs=True).providers(tensorrt=False)
    assert (facts["cudnn_conv_algo_search"], facts["prefer_nhwc"]) == ("DEFAULT", True)


def test_engines_are_kept_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDZOO_ENGINES", str(tmp_path))
    assert default_engine_cache() == tmp_path


@pytest.mark.parametrize(
    ("asked", "providers", "device"),
    [
        ("auto", ["CPUExecutionProvider"], "cpu"),
        ("auto", ["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda:1"),
        ("tensorrt", ["TensorrtExecutionProvider", "CUDAExecutionProvider"], "tensorrt:1"),
        ("cuda", ["CPUExecutionProvider"], None),
        ("tensorrt", ["CUDAExecutionProvider", "CPUExecutionProvider"], None),
    ],
)
def test_fewer_rows_than_requested_are_an_error(asked: str, providers: list[str], device: str | None) -> None:
    if device is not None:
        assert device_in_use(asked, providers, number=1, where="x.onnx") == device  # type: ignore[arg-type]
        return
    with pytest.raises(
        UserError, match=rf"x\.onnx: device {asked} was requested, but ONNX Runtime could only start on"
    ):
        device_in_use(asked, providers, number=1, where="x.onnx")  # type: ignore[arg-type]


@pytest.mark.skipif(cuda_usable(), reason="there is a CUDA device here")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_without_a_device_no_fallback_is_silent(device: str, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "graph.onnx", "classify")
    with pytest.raises(UserError, match=f"device {device} was requested, but no CUDA device is usable"):
        OnnxBackend(path, device=device)  # type: ignore[arg-type]
    assert OnnxBackend(path).device == "cpu"


@pytest.mark.skipif(cuda_usable(), reason="there is a CUDA device here")
def test_a_device_that_cannot_be_started_on_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine with a driver and without CUDA's libraries: ONNX Runtime itself then takes the CPU in silence."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this ONNX Runtime was built without CUDA")
    monkeypatch.setattr("medzoo.runtime.backends.devices.cuda_device_present", lambda: True)
    path = write_graph(tmp_path / "graph.onnx", "classify")
    backend = OnnxBackend(path)
    assert backend.device == "cpu"
    backend.warm_up()  # it is as a session on the CPU is
    (warning,) = caplog.messages
    assert warning.startswith(f"{path}: running on the CPU, because ONNX Runtime could not start on the GPU; ")
    assert "medzoo[gpu]" in warning
    with pytest.raises(UserError, match="device cuda was requested, but ONNX Runtime could only start on cpu"):
        OnnxBackend(path, device="cuda")


@pytest.mark.skipif(cuda_usable(), reason="there is a CUDA device here")
@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--gpu", "1"], "GPU 1"),
        (["--gpu-memory-mb", "500"], "a GPU memory limit of 500 MB"),
        (["--cuda-graphs"], "CUDA graphs"),
        (["--engines", "here"], "TensorRT engines in here"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "serve"])
def test_gpu_options_are_refused_without_a_gpu(
    command: str, option: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from medzoo.cli import main

    graph = write_graph(tmp_path / "graph.onnx", "classify")
    rest = ["image.png"] if command == "predict" else ["--no-supervise", "--http-port", "0", "--grpc-port", "-1"]
    for device, why in (("auto", "no CUDA device is usable"), ("cpu", "cannot be combined with the device cpu")):
        with pytest.raises(SystemExit) as ended:
            main([command, str(graph), *rest, *option, "--device", device])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert words in line
        assert why in line
