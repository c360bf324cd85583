"""The schema of ONNX files (onnx.proto of ONNX 1.23), as the validation of their bytes needs it.

A field that is not here is refused, whatever it holds (onnx_check.py). Left out on purpose: training_info,
the segments of a tensor, and the assignment of nodes to devices; no model that answers needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types (https://protobuf.dev/programming-guides/encoding)."""


@dataclass(frozen=True)
class Field:
    """A field of a message: its name, the type of its message ("" for a scalar), and if it is repeated."""

    name: str
    message: str = ""
    repeated: bool = False


def _of(**fields: tuple[int, str]) -> Mapping[int, Field]:
    """Index fields by tag (number * 8 + wire type), from their numbers and types.

    "*" before it says that it is repeated; a repeated number may also be packed, several in one piece of bytes.
    """
    found: dict[int, Field] = {}
    for name, (number, kind) in fields.items():
        repeated = kind.startswith("*")
        plain = kind.removeprefix("*")
        wire = {"int": VARINT, "float": FIXED32, "double": FIXED64}.get(plain, BYTES)
        message = plain if plain.endswith("Proto") else ""
        found[number * 8 + wire] = Field(name, message, repeated)
        if repeated and wire != BYTES:
            found[number * 8 + BYTES] = Field(name, "", True)
    return found


MESSAGES: Mapping[str, Mapping[int, Field]] = {
    "ModelProto": _of(
        ir_version=(1, "int"),
        producer_name=(2, "string"),
        producer_version=(3, "string"),
        domain=(4, "string"),
        model_version=(5, "int"),
        doc_string=(6, "string"),
        graph=(7, "GraphProto"),
        opset_import=(8, "*OperatorSetIdProto"),
        metadata_props=(14, "*StringStringEntryProto"),
        functions=(25, "*FunctionProto"),
    ),
    "GraphProto": _of(
        node=(1, "*NodeProto"),
        name=(2, "string"),
        initializer=(5, "*TensorProto"),
        doc_string=(10, "string"),
        input=(11, "*ValueInfoProto"),
        output=(12, "*ValueInfoProto"),
        value_info=(13, "*ValueInfoProto"),
        quantization_annotation=(14, "*TensorAnnotationProto"),
        sparse_initializer=(15, "*SparseTensorProto"),
        metadata_props=(16, "*StringStringEntryProto"),
    ),
    "NodeProto": _of(
        input=(1, "*string"),
        output=(2, "*string"),
        name=(3, "string"),
        op_type=(4, "string"),
        attribute=(5, "*AttributeProto"),
        doc_string=(6, "string"),
        domain=(7, "string"),
        overload=(8, "string"),
        metadata_props=(9, "*StringStringEntryProto"),
    ),
    "AttributeProto": _of(
        name=(1, "string"),
        f=(2, "float"),
        i=(3, "int"),
        s=(4, "bytes"),
        t=(5, "TensorProto"),
        g=(6, "GraphProto"),
        floats=(7, "*float"),
        ints=(8, "*int"),
        strings=(9, "*bytes"),
        tensors=(10, "*TensorProto"),
        graphs=(11, "*GraphProto"),
        doc_string=(13, "string"),
        tp=(14, "TypeProto"),
        type_protos=(15, "*TypeProto"),
        type=(20, "int"),
        ref_attr_name=(21, "string"),
        sparse_tensor=(22, "SparseTensorProto"),
        sparse_tensors=(23, "*SparseTensorProto"),
    ),
    "TensorProto": _of(
        dims=(1, "*int"),
        data_type=(2, "int"),
        float_data=(4, "*float"),
        int32_data=(5, "*int"),
        string_data=(6, "*bytes"),
        int64_data=(7, "*int"),
        name=(8, "string"),
        raw_data=(9, "bytes"),
        double_data=(10, "*double"),
        uint64_data=(11, "*int"),
        doc_string=(12, "string"),
        external_data=(13, "*StringStringEntryProto"),
        data_location=(14, "int"),
        metadata_props=(16, "*StringStringEntryProto"),
    ),
    "SparseTensorProto": _of(values=(1, "TensorProto"), indices=(2, "TensorProto"), dims=(3, "*int")),
    "FunctionProto": _of(
        name=(1, "string"),
        input=(4, "*string"),
        output=(5, "*string"),
        attribute=(6, "*string"),
        node=(7, "*NodeProto"),
        doc_string=(8, "string"),
        opset_import=(9, "*OperatorSetIdProto"),
        domain=(10, "string"),
        attribute_proto=(11, "*AttributeProto"),
        value_info=(12, "*ValueInfoProto"),
        overload=(13, "string"),
        metadata_props=(14, "*StringStringEntryProto"),
    ),
    "StringStringEntryProto": _of(key=(1, "string"), value=(2, "string")),
    "TensorAnnotationProto": _of(
        tensor_name=(1, "string"), quant_parameter_tensor_names=(2, "*StringStringEntryProto")
    ),
    # The types and shapes of values hold no tensors, and their messages no bytes: they are not looked into.
    "OperatorSetIdProto": {},
    "ValueInfoProto": {},
    "TypeProto": {},
}
OPAQUE = frozenset(name for name, fields in MESSAGES.items() if not fields)
