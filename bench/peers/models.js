/** ONNX models of one node, as onnxruntime's users have them inside larger graphs. */
import proto from "onnx-proto";

const { onnx } = proto;
const FLOAT = onnx.TensorProto.DataType.FLOAT;

const value = (name, shape, elemType = FLOAT) => ({
  name,
  type: {
    tensorType: {
      elemType,
      shape: { dim: shape.map((dimValue) => ({ dimValue })) },
    },
  },
});
const int = (name, i) => ({
  name,
  i,
  type: onnx.AttributeProto.AttributeType.INT,
});
const float = (name, f) => ({
  name,
  f,
  type: onnx.AttributeProto.AttributeType.FLOAT,
});

function model(node, input, output) {
  return onnx.ModelProto.encode({
    irVersion: 10,
    opsetImport: [{ domain: "", version: 23 }, {
      domain: "com.microsoft",
      version: 1,
    }],
    graph: { name: "attention", node: [node], input, output },
  }).finish();
}

/** com.microsoft.MultiHeadAttention: q, k, v [1,N,H·D]; onnxruntime's fused attention for the CPU. */
export function multiHeadAttention({ H, N, D, causal }) {
  const shape = [1, N, H * D];
  return model(
    {
      opType: "MultiHeadAttention",
      domain: "com.microsoft",
      input: ["q", "k", "v"],
      output: ["out"],
      attribute: [
        int("num_heads", H),
        float("scale", 1 / Math.sqrt(D)),
        int("unidirectional", causal ? 1 : 0),
      ],
    },
    ["q", "k", "v"].map((name) => value(name, shape)),
    [value("out", shape)],
  );
}

/** ai.onnx Attention, opset 23: q, k, v [1,H,N,D]. */
export function attention({ H, N, D, causal }) {
  const shape = [1, H, N, D];
  return model(
    {
      opType: "Attention",
      input: ["q", "k", "v"],
      output: ["out"],
      attribute: [
        int("is_causal", causal ? 1 : 0),
        float("scale", 1 / Math.sqrt(D)),
      ],
    },
    ["q", "k", "v"].map((name) => value(name, shape)),
    [value("out", shape)],
  );
}
