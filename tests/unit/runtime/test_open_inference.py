"""The generated messages of the Open Inference Protocol: up to date, of their own names, and readable by others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROTO = "medzoo/runtime/protocol/open_inference.proto"
ROOT = Path(__file__).parents[3]


def test_the_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    from google.protobuf import descriptor_pb2

    from medzoo.runtime.protocol import open_inference_pb2

    compiled = tmp_path / "set.pb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", f"--descriptor_set_out={compiled}", PROTO]
    subprocess.run(command, check=True, cwd=ROOT)
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    file.ClearField("source_code_info")
    generated = descriptor_pb2.FileDescriptorProto()
    open_inference_pb2.DESCRIPTOR.CopyToProto(generated)
    for message in (*file.message_type, *generated.message_type):  # names that protoc may or may not write out
        for field in message.field:
            field.ClearField("json_name")
        for entry in message.nested_type:
            for field in entry.field:
                field.ClearField("json_name")
    assert generated == file, "run make proto"


def test_messages_are_the_reference_clients_on_the_wire() -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2", reason="tritonclient is not installed")
    from medzoo.runtime.protocol import open_inference_pb2

    for name, message in open_inference_pb2.DESCRIPTOR.message_types_by_name.items():
        other = getattr(theirs, name, None)
        if other is None:  # nested in Triton's file, as InferTensor is in ModelInferRequest
            continue
        known = {field.name: (field.number, field.type) for field in other.DESCRIPTOR.fields}
        for field in message.fields:
            assert known[field.name] == (field.number, field.type), (name, field.name)


@pytest.mark.parametrize("first", ["tritonclient.grpc.service_pb2", "medzoo.runtime.protocol.open_inference_pb2"])
def test_two_libraries_describe_the_protocol_in_one_process(first: str) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    second = {
        "tritonclient.grpc.service_pb2": "medzoo.runtime.protocol.open_inference_pb2",
        "medzoo.runtime.protocol.open_inference_pb2": "tritonclient.grpc.service_pb2",
    }[first]
    code = (
        f"import importlib as i; a, b = i.import_module({first!r}), i.import_module({second!r}); "
        "raw = a.ModelInferRequest(model_name='m', raw_input_contents=[b'1']).SerializeToString(); "
        "assert b.ModelInferRequest.FromString(raw).model_name == 'm'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
