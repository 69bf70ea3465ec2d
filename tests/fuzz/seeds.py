#!/usr/bin/env python3
"""seeds.py [FOLDER]: writes the first inputs of every fuzz target, from nothing. Findings are added to them by hand."""
import json
import os
import struct
import sys

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def write(target, name, content):
    os.makedirs(os.path.join(FOLDER, target), exist_ok=True)
    with open(os.path.join(FOLDER, target, name), "wb") as file:
        file.write(content)


def piece(content):
    return struct.pack("<H", len(content)) + content


SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "I64": 8}


def tensors(entries, metadata=True):
    """Header and data of a safetensors file; entries: (name, dtype, shape)."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = {"format": "pt"}
    for name, dtype, shape in entries:
        size = SIZES[dtype]
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes((7 * i) % 61 for i in range(size))
    return json.dumps(header, separators=(",", ":")).encode(), data


def whole(header, data):
    return struct.pack("<Q", len(header)) + header + data


FLA = {"model_type": "retnet", "hidden_size": 4, "num_hidden_layers": 1, "num_heads": 2, "intermediate_size": 2,
       "vocab_size": 3}
FLA_MORE = dict(FLA, attn_mode="chunk", hidden_act="swish", num_kv_heads=1, expand_k=1.0, expand_v=2, hidden_ratio=2,
                norm_eps=1e-6, tie_word_embeddings=True, use_output_gate=False, elementwise_affine=False,
                bos_token_id=1, eos_token_id=[2, 0], feature_map=None, attn=None, use_short_conv=False, conv_size=4,
                architectures=["RetNetForCausalLM"], use_cache=True, fuse_norm=True)
TORCHSCALE = {"decoder_embed_dim": 4, "decoder_value_embed_dim": 4, "decoder_retention_heads": 1,
              "decoder_ffn_embed_dim": 2, "decoder_layers": 1, "vocab_size": 3, "activation_fn": "swish"}


def fla(dtype, ffn=2):
    def matrix(name, rows, columns):
        entries.append((name, dtype, [rows, (columns + 1) // 2 if dtype == "U8" else columns]))
        if dtype in ("I8", "U8"):
            entries.append((name + "_scale", "F16", [rows, (columns + 31) // 32]))

    vector = "F16" if dtype in ("I8", "U8") else dtype
    entries = []
    matrix("model.embeddings.weight", 3, 4)
    layer = "model.layers.0."
    entries.append((layer + "attn_norm.weight", vector, [4]))
    matrix(layer + "attn.q_proj.weight", 4, 4)
    matrix(layer + "attn.k_proj.weight", 4, 4)
    matrix(layer + "attn.v_proj.weight", 8, 4)
    matrix(layer + "attn.g_proj.weight", 8, 4)
    entries.append((layer + "attn.g_norm_swish_gate.weight", vector, [4]))
    matrix(layer + "attn.o_proj.weight", 4, 8)
    entries.append((layer + "mlp_norm.weight", vector, [4]))
    matrix(layer + "mlp.gate_proj.weight", ffn, 4)
    matrix(layer + "mlp.up_proj.weight", ffn, 4)
    matrix(layer + "mlp.down_proj.weight", 4, ffn)
    entries.append(("model.norm.weight", vector, [4]))
    matrix("lm_head.weight", 3, 4)
    return entries


def torchscale():
    entries = [("embed_tokens.weight", "F32", [3, 4])]
    layer = "layers.0."
    for name in "qkvg":
        entries.append((layer + f"retention.{name}_proj.weight", "F32", [4, 4]))
    entries.append((layer + "retention.out_proj.weight", "F32", [4, 4]))
    entries.append((layer + "retention_layer_norm.weight", "F32", [4]))
    entries.append((layer + "ffn.fc1.weight", "F32", [2, 4]))
    entries.append((layer + "ffn.gate.weight", "F32", [2, 4]))
    entries.append((layer + "ffn.fc2.weight", "F32", [4, 2]))
    entries.append((layer + "final_layer_norm.weight", "F32", [4]))
    entries.append(("layer_norm.weight", "F32", [4]))
    entries.append(("output_projection.weight", "F32", [3, 4]))
    return entries


def text(value):
    return json.dumps(value, separators=(",", ":")).encode()


for name, config in {"fla": FLA, "fla_more": FLA_MORE, "torchscale": TORCHSCALE}.items():
    write("config", name, text(config))

small = [("a", "F16", [2, 2]), ("b", "I8", [3])]
write("safetensors", "two", whole(*tensors(small)))
write("safetensors", "empty", whole(b"{}", b""))
write("safetensors", "no_elements", whole(*tensors([("none", "F32", [0, 5]), ("scalar", "I64", [])], False)))

first, second = tensors([("a", "F16", [2])]), tensors([("b", "F32", [1])])
index = text({"metadata": {"total_size": 8}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})
write("shards", "two", piece(index) + piece(first[0]) + piece(second[0]) + piece(first[1]) + second[1])

for name, config, entries in (("fla_f32", FLA, fla("F32")), ("fla_bf16", FLA, fla("BF16")), ("fla_i8", FLA, fla("I8")),
                              ("fla_u8", dict(FLA, intermediate_size=35), fla("U8", 35)),
                              ("torchscale", TORCHSCALE, torchscale())):
    header, data = tensors(entries)
    write("checkpoint", name, piece(text(config)) + piece(header) + data)

# As session/blob.c writes them, for the model of state.c.
values = 2 * 2 * 4 * 4
for name, recent, logits in (("fresh", [], False), ("read", [1, 2, 7], True)):
    header = b"RNSTATE\n" + struct.pack("<IIQQ6I", 1, logits, 0x1122334455667788, len(recent), 2, 2, 4, 4, 8,
                                        len(recent))
    body = header + struct.pack(f"<{len(recent)}i", *recent) + bytes(4 * values) + bytes(32 if logits else 0)
    write("state", name, b"\1" + body + bytes(8))
    write("state", name + "_damaged", b"\0" + body + bytes(8))

# As vulkan/pipeline_cache.c writes them, for the device of pipeline_cache.c.
inner = struct.pack("<IIII", 32, 1, 0x1234, 0x5678) + b"u" * 16 + b"pipelines"
outer = b"RNPIPES\n" + struct.pack("<4I", 2, 0x1234, 0x5678, 42) + b"u" * 16 + bytes(24)
choices = struct.pack("<5Q", 2, 1, 2, 3, 4) + bytes(16 * 62)
write("pipeline_cache", "good", b"\1" + outer + choices + inner)
write("pipeline_cache", "damaged", b"\0" + outer + choices + inner)

for name, content in {"plain": "Once upon a time, there was a fox.", "marked": "<|user|>Hello<|assistant|> <s></s>",
                      "unicode": "Größe 漢字 \U0001f98a ▁x <0xE2><0x96>"}.items():
    write("text", name, b"\0" + content.encode())
    write("text", name + "_special", b"\1" + content.encode())
write("text", "broken", b"\0\xff\xfe\xe2\x82 \xf0\x9f\xa6 \xc0\x80\xed\xa0\x80")


def field(number, kind, content):
    return bytes([number << 3 | kind]) + content


def message(number, content):
    return field(number, 2, bytes([len(content)]) + content)


def model_piece(name, kind):
    return message(1, message(1, name) + field(2, 5, struct.pack("<f", -1.5)) + field(3, 0, bytes([kind])))


model = model_piece(b"<unk>", 2) + model_piece(b"<|user|>", 4) + model_piece(b"[INST]", 4) + model_piece(b"a", 1)
write("markers", "model", model + message(2, b"\x18\x01") + message(4, b"sample"))
