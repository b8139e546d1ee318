"""Vectors of onnxruntime's contrib operators: random inputs and what its CPU kernels make of them.

    pip install onnxruntime==1.30.0 onnx==1.23.1 numpy==2.4.6 && python generate.py

One safetensors file a case: inputs by their names, outputs as out_NAME, attributes as JSON in the metadata.
"""
import json
import struct

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

ORDER = {
    "GroupQueryAttention": "query key value past_key past_value seqlens_k total_sequence_length cos_cache sin_cache "
    "position_ids attention_bias head_sink".split(),
    "MultiHeadAttention": "query key value bias key_padding_mask attention_bias past_key past_value".split(),
}
TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "int64": TensorProto.INT64}
NAMES = {"float32": "F32", "int32": "I32", "int64": "I64"}
OUTPUTS = ["output", "present_key", "present_value"]
random = np.random.default_rng(20260901)


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32)


def ints(*values, shape=None):
    return np.array(values, np.int32).reshape(shape if shape is not None else [len(values)])


def evaluate(op, inputs, attributes, outputs):
    names = [name if name in inputs else "" for name in ORDER[op]]
    node = helper.make_node(op, names, outputs, domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(k, TYPES[str(v.dtype)], v.shape) for k, v in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def save(name, op, inputs, attributes, outputs):
    results = evaluate(op, inputs, attributes, outputs)
    tensors = {**inputs, **{f"out_{key}": value for key, value in zip(outputs, results)}}
    header, data = {"__metadata__": {"op": op, "attributes": json.dumps(attributes)}}, b""
    for key, value in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        raw = np.ascontiguousarray(value).tobytes()
        header[key] = {
            "dtype": NAMES[str(value.dtype)],
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{name}.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def group(name, B=1, S=3, H=4, G=2, D=16, past=0, keys=None, packed=False, rotary=None, bias=None, sink=False, **attributes):
    total = past + S if keys is None else max(keys)
    inputs = {"query": normal(B, S, (H + 2 * G) * D if packed else H * D)}
    if not packed:
        inputs |= {"key": normal(B, S, G * D), "value": normal(B, S, G * D)}
    if past:
        inputs |= {"past_key": normal(B, G, past, D), "past_value": normal(B, G, past, D)}
    inputs["seqlens_k"] = ints(*[n - 1 for n in keys or [total] * B])
    inputs["total_sequence_length"] = ints(total, shape=[])
    if rotary:
        angles = random.uniform(0, 6, (12, rotary))
        inputs |= {"cos_cache": np.cos(angles).astype(np.float32), "sin_cache": np.sin(angles).astype(np.float32)}
        attributes["do_rotary"] = 1
    if bias:
        inputs["attention_bias"] = normal(*bias, S, total)
    if sink:
        inputs["head_sink"] = normal(H)
    save(f"group_{name}", "GroupQueryAttention", inputs, {"num_heads": H, "kv_num_heads": G, **attributes}, OUTPUTS)


def multi(name, B=2, S=3, L=None, H=2, D=8, past=0, cross=False, projected=False, padding=None, bias=None, **attributes):
    L = S if L is None else L
    inputs = {"query": normal(B, S, H * D)}
    shape = [B, H, L, D] if cross else [B, L, H * D]
    inputs |= {"key": normal(*shape), "value": normal(*shape)}
    if projected:
        inputs["bias"] = normal(3 * H * D)
    if padding is not None:
        inputs["key_padding_mask"] = padding
    if bias:
        inputs["attention_bias"] = normal(*bias, S, past + L)
    if past:
        inputs |= {"past_key": normal(B, H, past, D), "past_value": normal(B, H, past, D)}
    outputs = OUTPUTS if past else OUTPUTS[:1]
    save(f"multi_{name}", "MultiHeadAttention", inputs, {"num_heads": H, **attributes}, outputs)


group("prompt", B=2)
group("prompt_padded", B=2, S=4, keys=[4, 2])
group("packed", packed=True)
group("decode", S=1, past=5)
group("decode_batch", B=2, S=1, past=6, keys=[7, 3])
group("decode_buffer", B=2, S=1, past=8, keys=[4, 6])
group("continued", S=3, past=4)
group("rotary", rotary=8)
group("rotary_interleaved", S=2, past=3, rotary=8, rotary_interleaved=1)
group("rotary_partial", D=32, H=2, G=1, packed=True, rotary=8)
group("smooth", smooth_softmax=1)
group("sink", S=1, past=4, sink=True)
group("window", S=6, local_window_size=2)
group("window_decode", S=1, past=7, local_window_size=3, sink=True)
group("softcap", softcap=2.0, scale=0.5)
group("bias", B=2, bias=[1, 4], softcap=3.0)
group("bias_batch", B=2, S=1, past=3, bias=[2, 1])

multi("plain", L=5)
multi("projected", projected=True)
multi("past", past=2)
multi("past_projected", past=2, projected=True, scale=0.25)
multi("cross", L=4, cross=True)
multi("lengths", L=5, padding=ints(3, 5))
multi("padding", L=4, padding=ints(1, 0, 1, 1, 0, 1, 1, 0, shape=[2, 4]))
multi("padding_rows", B=1, L=3, padding=ints(1, 0, 1, 0, 1, 1, 1, 1, 0, shape=[1, 3, 3]))
multi("filter", L=4, padding=ints(2, 3), mask_filter_value=-2.0)
multi("causal", unidirectional=1)
multi("causal_past", past=3, unidirectional=1, projected=True)
multi("causal_padding", S=4, padding=ints(4, 2), unidirectional=1, mask_filter_value=-1.0)
multi("causal_cross", S=3, L=5, cross=True, unidirectional=1)
multi("bias", L=4, bias=[1, 2], scale=0.3)
multi("bias_padding", L=4, bias=[2, 1], padding=ints(4, 3))
