"""Tensors beside a message: what is written here protocol buffers reads, and the other way round."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from medzoo.errors import UserError
from medzoo.runtime.protocol.messages import REQUEST, RESPONSE, join, split


def request() -> service_pb2.ModelInferRequest:
    made = service_pb2.ModelInferRequest(model_name="toy", id="7")
    made.inputs.add(name="image", datatype="FP32", shape=[1, 70_000])
    made.parameters["timeout"].int64_param = 2**40
    made.parameters["share"].double_param = 0.5
    return made


def test_tritons_own_schema_reads_what_is_joined() -> None:
    tensors = [np.arange(70_000, dtype=np.float32).tobytes(), b"", b"x" * 200]
    raw = join(request().SerializeToString(), REQUEST, [memoryview(tensors[0]), *tensors[1:]])
    read = service_pb2.ModelInferRequest.FromString(raw)
    assert list(read.raw_input_contents) == tensors
    del read.raw_input_contents[:]
    assert read == request()


def test_what_protocol_buffers_wrote_is_split() -> None:
    whole = request()
    whole.raw_input_contents.extend([b"abc", b"d" * 300_000])
    rest, tensors = split(whole.SerializeToString(), REQUEST)
    assert [bytes(one) for one in tensors] == [b"abc", b"d" * 300_000]
    assert service_pb2.ModelInferRequest.FromString(rest) == request()
    # The other message's number is another field.
    assert split(whole.SerializeToString(), RESPONSE)[1] == []


def test_a_tensor_of_float32_in_front_is_aligned() -> None:
    """4 bytes of tag and length for 16 KB to 2 MB, so that nothing needs to be copied to be read as float32."""
    raw = join(b"", REQUEST, [np.zeros(512 * 512, np.float32).tobytes()])
    (tensor,) = split(raw, REQUEST)[1]
    assert np.frombuffer(tensor, np.float32).flags.aligned


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_a_message_that_ends_early_is_an_error(cut: int) -> None:
    raw = join(request().SerializeToString(), REQUEST, [b"x" * 1000])
    with pytest.raises(UserError, match="protobuf message"):
        split(raw[:cut], REQUEST)


def test_bytes_that_are_no_message_are_an_error() -> None:
    for raw in (b"\xff" * 12, b"\x0b", b"\x0f"):
        with pytest.raises(UserError, match="protobuf message"):
            split(raw, REQUEST)
