"""samples/convert: checkpoints as fairseq and Hugging Face write them are converted, loaded by the library, and their
logits and states are those of RetNets in torch (retnet_torch.py); what cannot be converted is refused by name.

convert_test.py CONVERT WORK_DIR GOLDEN_TEST...: the script, a folder to write to, and the command that compares a
directory with its golden.safetensors (tests/session/golden_test.c). Exit status 77: skipped."""

import argparse
import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys

try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)
import retnet_torch

CONVERT, WORK, GOLDEN = sys.argv[1], sys.argv[2], sys.argv[3:]
failures = 0


def fail(text):
    global failures
    failures += 1
    print(f"failed: {text}", file=sys.stderr)


def path(name):
    return os.path.join(WORK, name)


def fresh(name):
    shutil.rmtree(path(name), ignore_errors=True)
    return path(name)


# ---- Checkpoints ----------------------------------------------------------------------------------------------------

class Maker:
    """Tensors with random values whose products with inputs of size 1 have size 1."""

    def __init__(self, seed, dtype=torch.float32):
        self.tensors, self.dtype = {}, dtype
        self.random = torch.Generator().manual_seed(seed)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.random, dtype=torch.float64) * 2 - 1

    def matrix(self, name, rows, columns):
        self.tensors[name] = ((3 / columns) ** 0.5 * self.uniform(rows, columns)).to(self.dtype)

    def norm(self, name, size):
        self.tensors[name] = (1 + 0.3 * self.uniform(size)).to(self.dtype)

    def bias(self, name, size):
        self.tensors[name] = (0.2 * self.uniform(size)).to(self.dtype)


def torchscale_tensors(seed, prefix, head, d, old=False, **options):
    make = Maker(seed, options.get("dtype", torch.float32))
    hidden, values, ffn = d["decoder_embed_dim"], d["decoder_value_embed_dim"], d["decoder_ffn_embed_dim"]

    def linear(name, rows, columns):
        make.matrix(prefix + name + ".weight", rows, columns)
        if old:
            make.bias(prefix + name + ".bias", rows)

    def norm(name, size):
        make.norm(prefix + name + ".weight", size)
        if old:
            make.bias(prefix + name + ".bias", size)

    make.matrix(prefix + "embed_tokens.weight", 61, hidden)
    for i in range(d["decoder_layers"]):
        for name, rows, columns in (("q", hidden, hidden), ("k", hidden, hidden), ("v", values, hidden),
                                    ("g", values, hidden), ("out", hidden, values)):
            linear(f"layers.{i}.retention.{name}_proj", rows, columns)
        norm(f"layers.{i}.retention_layer_norm", hidden)
        norm(f"layers.{i}.final_layer_norm", hidden)
        linear(f"layers.{i}.ffn.fc1", ffn, hidden)
        linear(f"layers.{i}.ffn.fc2", hidden, ffn)
        if old:
            norm(f"layers.{i}.ffn.ffn_layernorm", ffn)
        else:
            linear(f"layers.{i}.ffn.gate", ffn, hidden)
    norm("layer_norm", hidden)
    if d["layernorm_embedding"]:
        norm("layernorm_embedding", hidden)
    if head:
        make.matrix(head, 61, hidden)
    if options.get("buffers"):
        heads = d["decoder_retention_heads"]
        theta = 10000 ** -torch.linspace(0, 1, hidden // heads // 2, dtype=torch.float32)
        make.tensors[prefix + "retnet_rel_pos.angle"] = theta.repeat_interleave(2)
        make.tensors[prefix + "retnet_rel_pos.decay"] = torch.log(1 - 2.0 ** (-4 - 0.7 * torch.arange(heads)))
    return make.tensors


def torchscale_settings(**changes):
    return {"decoder_embed_dim": 48, "decoder_value_embed_dim": 87, "decoder_ffn_embed_dim": 70, "decoder_layers": 2,
            "decoder_retention_heads": 3, "activation_fn": "swish", "no_scale_embedding": False,
            "layernorm_embedding": False, "decoder_normalize_before": True, "moe_freq": 0, "deepnorm": False,
            "multiway": False, **changes}


def fla_tensors(seed, config, legacy):
    make, hidden, heads, kv_heads = Maker(seed, torch.bfloat16), 64, config["num_heads"], config["num_kv_heads"]
    make.matrix("model.embeddings.weight", 61, hidden)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, rows, columns in (("q", heads * 16, hidden), ("k", kv_heads * 16, hidden),
                                    ("v", kv_heads * 27, hidden), ("g", heads * 27, hidden), ("o", hidden, heads * 27)):
            make.matrix(f"{layer}attn.{name}_proj.weight", rows, columns)
        make.norm(layer + "attn.g_norm_swish_gate.weight", 27)
        make.norm(layer + "attn_norm.weight", hidden)
        make.norm(layer + "mlp_norm.weight", hidden)
        make.matrix(layer + "mlp.gate_proj.weight", (2 if legacy else 1) * 45, hidden)
        if not legacy:
            make.matrix(layer + "mlp.up_proj.weight", 45, hidden)
        make.matrix(layer + "mlp.down_proj.weight", hidden, 45)
        make.tensors[layer + "attn.rotary.inv_freq"] = torch.zeros(8)  # of very old files, without influence
    make.norm("model.norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        make.matrix("lm_head.weight", 61, hidden)
    return make.tensors


def fla_config(**changes):
    return {"model_type": "retnet", "architectures": ["RetNetForCausalLM"], "hidden_size": 64, "expand_k": 1.0,
            "expand_v": 27 / 16, "num_hidden_layers": 2, "num_heads": 4, "num_kv_heads": 2, "intermediate_size": 45,
            "vocab_size": 61, "norm_eps": 1e-6, "tie_word_embeddings": False, **changes}


# ---- Running --------------------------------------------------------------------------------------------------------

def run_program(*arguments):
    return subprocess.run([sys.executable, CONVERT, *arguments], capture_output=True, text=True, check=False)


def run(*arguments):
    """The same within this process: torch takes seconds to import."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    sys.argv = [CONVERT, *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(CONVERT, run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
            if isinstance(status, str):
                print(status, file=err)
                status = 1
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def check_converted(what, directory, tensors, dropped=()):
    """The directory holds exactly these tensors, bit by bit."""
    found = load_file(os.path.join(directory, "model.safetensors"))
    expected = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    if set(found) != set(expected):
        fail(f"{what}: tensors {sorted(set(found) ^ set(expected))} are missing or too many")
        return
    for name, tensor in expected.items():
        if found[name].dtype != tensor.dtype or not torch.equal(found[name], tensor):
            fail(f"{what}: {name} was changed")


def check_golden(what, directory, record):
    """The library's logits and states against those of record(ids, eps); eps None: that of the config."""
    ids = torch.randint(0, 61, (3, 100), generator=torch.Generator().manual_seed(4))
    logits, states = record(ids, None)
    golden = {"tokens": ids, **states}
    if any(name.endswith("scale") for name in states):
        golden["logits_recurrent"], golden["logits_recurrent_eps0"] = logits, record(ids, 0.0)[0]
    else:
        golden["logits_f64"] = logits
    save_file({name: tensor.contiguous() for name, tensor in golden.items()},
              os.path.join(directory, "golden.safetensors"))
    result = subprocess.run([*GOLDEN, directory], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        fail(f"{what}: the library computes otherwise: {result.stderr[-1500:]}")


def check(what, arguments, tensors, record, dropped=()):
    out = fresh(what + ".out")
    result = run(*arguments, out)
    if result.returncode != 0:
        fail(f"{what}: {result.stderr}")
        return out
    check_converted(what, out, tensors, dropped)
    check_golden(what, out, record)
    return out


def check_refused(what, arguments, part):
    out = fresh("refused.out")
    result = run(*arguments, out)
    if result.returncode != 1 or part not in result.stderr or result.stderr.count("\n") != 1:
        fail(f"{what}: exit status {result.returncode}, \"{part}\" expected in: {result.stderr}")
    if os.path.isdir(out) and os.listdir(out):
        fail(f"{what}: refused, but {os.listdir(out)} was left")


def save(name, content):
    torch.save(content, path(name))
    return path(name)


def save_config(directory, config):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


# ---- Cases ----------------------------------------------------------------------------------------------------------

def fairseq_case():
    """Settings as argparse.Namespace, as fairseq used to keep them; everything else that is in such a file."""
    settings = torchscale_settings(layernorm_embedding=True)
    tensors = torchscale_tensors(1, "decoder.", "decoder.output_projection.weight", settings, buffers=True)
    args = argparse.Namespace(**settings, arch="retnet_base", lr=[0.1], dropout=0.1, max_update=5)
    file = save("fairseq.pt", {"args": args, "cfg": None, "extra_state": {"epoch": 3},
                               "model": {**tensors, "decoder.version": torch.tensor([3.0])},
                               "optimizer_history": [], "last_optimizer_state": {"step": torch.zeros(3)}})
    record = lambda ids, eps: retnet_torch.torchscale(tensors, "decoder.", settings, ids, 1e-6 if eps is None else eps)
    out = check("fairseq", [file], tensors, record)
    result = run(file, out)
    if result.returncode != 1 or "already" not in result.stderr:
        fail(f"a directory with a checkpoint was written to: {result.stderr}")
    half = fresh("fairseq_bf16.out")
    if run("--dtype", "bf16", file, half).returncode == 0:
        rounded = {name: tensor if "rel_pos" in name else tensor.bfloat16() for name, tensor in tensors.items()}
        check_converted("fairseq as bf16", half, rounded)
    else:
        fail("--dtype bf16")
    return tensors, settings


def fairseq_cfg_case():
    """Settings as the dictionary that newer versions write; a tied head, which is in the file twice."""
    settings = torchscale_settings(activation_fn="gelu", share_decoder_input_output_embed=True, layernorm_eps=1e-5)
    tensors = torchscale_tensors(2, "decoder.", None, settings, dtype=torch.float16)
    tensors["decoder.output_projection.weight"] = tensors["decoder.embed_tokens.weight"]
    file = save("fairseq_cfg.pt", {"cfg": {"model": settings, "task": {"data": "x"}}, "model": tensors})
    record = lambda ids, eps: retnet_torch.torchscale(tensors, "decoder.", settings, ids, 1e-5 if eps is None else eps)
    check("fairseq_cfg", [file], tensors, record, ["decoder.output_projection.weight"])


def old_case():
    """Layer norms and biases; settings on the command line, for a file of nothing but tensors."""
    settings = torchscale_settings(decoder_value_embed_dim=96, activation_fn="relu", no_scale_embedding=True)
    tensors = torchscale_tensors(3, "", "output_projection.weight", settings, old=True)
    file = save("old.bin", tensors)
    options = ["--set", "decoder_retention_heads=3", "--set", "activation_fn=relu", "--set", "no_scale_embedding=true"]
    record = lambda ids, eps: retnet_torch.torchscale(tensors, "", settings, ids, 1e-5 if eps is None else eps)
    check("old", [*options, "--set", "layernorm_eps=1e-5", file], tensors, record)
    check_refused("old layout without eps", [*options, file], "--set layernorm_eps=1e-5")


def port_case():
    """The port to Hugging Face: config.json and shards."""
    settings = torchscale_settings(decoder_embed_dim=64, decoder_retention_heads=4, decoder_value_embed_dim=108)
    tensors = torchscale_tensors(5, "model.", "lm_head.weight", settings, buffers=True)
    directory = fresh("port")
    config = {**settings, "model_type": "retnet", "vocab_size": 61, "layernorm_eps": 1e-6, "torch_dtype": "float32",
              "tie_word_embeddings": False, "use_lm_decay": False}
    save_config(directory, config)
    names = sorted(tensors)
    shards = {f"pytorch_model-{i}.bin": {name: tensors[name] for name in names[i::3]} for i in range(3)}
    for file, part in shards.items():
        torch.save(part, os.path.join(directory, file))
    with open(os.path.join(directory, "pytorch_model.bin.index.json"), "w", encoding="utf-8") as file:
        json.dump({"weight_map": {name: shard for shard, part in shards.items() for name in part}}, file)
    with open(os.path.join(directory, "tokenizer.model"), "wb") as file:
        file.write(b"tokenizer")
    record = lambda ids, eps: retnet_torch.torchscale(tensors, "model.", config, ids, 1e-6 if eps is None else eps)
    out = check("port", [directory], tensors, record)
    if not os.path.exists(os.path.join(out, "tokenizer.model")):
        fail("tokenizer.model was left behind")
    os.remove(os.path.join(directory, "pytorch_model-1.bin"))
    check_refused("a missing shard", [directory], "pytorch_model-1.bin: cannot be read")


def fla_cases():
    for what, legacy, tied in (("fla", False, False), ("fla_legacy", True, True)):
        config = fla_config(tie_word_embeddings=tied)
        tensors = fla_tensors(6, config, legacy)
        directory = fresh(what)
        save_config(directory, config)
        torch.save(tensors, os.path.join(directory, "pytorch_model.bin"))
        kept = {name: tensor for name, tensor in tensors.items() if "inv_freq" not in name}
        check(what, [directory], kept, lambda ids, eps, t=tensors, c=config: retnet_torch.fla(t, c, ids))
    for field, value, part in (("use_short_conv", True, "a short convolution"), ("attn", {"layers": [1]}, "hybrid"),
                               ("num_hidden_layers", 3, "num_hidden_layers is stated as 3, but the tensors have 2")):
        check_refused(field, ["--set", f"{field}={json.dumps(value)}", path("fla")], part)
    check_refused("fla alone", [save("fla_alone.bin", tensors)], "no config.json")
    conv = {**tensors, "model.layers.0.attn.q_conv1d.weight": torch.zeros(64, 1, 4)}
    check_refused("fla with convolutions", ["--config", path("fla/config.json"), save("conv.bin", conv)],
                  "q_conv1d.weight: a short convolution is not supported")


class Stranger:
    """Unpickling one calls a function of the file's choice."""

    def __reduce__(self):
        return os.mkdir, (path("strangers_directory"),)


def refusals(tensors, settings):
    def variant(what, part, change=None, args=None, options=()):
        changed = {name: tensor for name, tensor in {**tensors, **(change or {})}.items() if tensor is not None}
        args = {**settings, **(args or {})}
        file = save("variant.pt", {"args": argparse.Namespace(**args), "model": changed})
        check_refused(what, [*options, file], part)

    name = "decoder.layers.1.ffn.fc2.weight"
    variant("a missing tensor", f"tensor {name} is missing", {name: None})
    variant("a tensor too many", "tensor decoder.other.weight is none", {"decoder.other.weight": torch.zeros(3)})
    variant("experts", "a mixture of experts is not supported", {"decoder.layers.1.moe_layer.gate.wg.weight": torch.zeros(3)})
    variant("experts as stated", "moe_freq = 2: a mixture of experts", args={"moe_freq": 2})
    variant("multiway", "a multiway model is not supported", {"decoder.layers.0.retention.A.q_proj.weight": torch.zeros(3)})
    variant("multiway as stated", "multiway = True: a multiway model", args={"multiway": True})
    variant("deepnorm", "deepnorm = True", args={"deepnorm": True})
    variant("post-norm", "norms after the residual", args={"decoder_normalize_before": False})
    variant("other widths", "decoder_embed_dim is stated as 64, but the tensors have 48", args={"decoder_embed_dim": 64})
    variant("other layers", "decoder_layers is stated as 3, but the tensors have 2", args={"decoder_layers": 3})
    variant("other heads", "decoder_retention_heads is stated as 4", args={"decoder_retention_heads": 4})
    variant("no activation", "give --set activation_fn=swish", args={"activation_fn": None})
    variant("no scale", "give --set no_scale_embedding=false", args={"no_scale_embedding": None})
    variant("an untied copy", "differs from decoder.embed_tokens.weight", args={"share_decoder_input_output_embed": True})
    variant("integers", "torch.int32 is not supported", {name: torch.zeros(48, 70, dtype=torch.int32)})
    variant("infinity", f"tensor {name}: holds values that are not finite", {name: torch.full((48, 70), torch.inf)})
    variant("too large for f16", "not finite as f16", {name: torch.full((48, 70), 1e5)}, options=["--dtype", "f16"])
    variant("no layers", "tensor decoder.layer_norm.weight is missing", {"decoder.layer_norm.weight": None})

    check_refused("code", [save("code.pt", {"model": {"x": Stranger()}})], "none of that was run")
    if os.path.exists(path("strangers_directory")):
        fail("code of the file was run")
    check_refused("no tensors", [save("empty.bin", {})], "no dictionary of tensors")
    check_refused("another model", [save("other.bin", {"transformer.wte.weight": torch.zeros(3)})], "transformer.wte.weight")
    check_refused("a list", [save("list.bin", [1, 2])], "no dictionary of tensors")
    check_refused("numbers", [save("numbers.bin", {"x": 3})], "found int as 'x'")
    with open(path("text.pt"), "w", encoding="utf-8") as file:
        file.write("not a checkpoint")
    check_refused("a text", [path("text.pt")], "text.pt: ")
    check_refused("nothing", [path("absent.pt")], "absent.pt: cannot be read: ")
    check_refused("an empty directory", [fresh_directory("nothing")], "found 0")


def fresh_directory(name):
    os.makedirs(fresh(name))
    return path(name)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    help_text = run_program("--help")
    if help_text.returncode != 0 or "usage: convert.py" not in help_text.stdout:
        fail("--help")
    absent = run_program(path("absent.pt"), path("absent.out"))
    if absent.returncode != 1 or not absent.stderr.startswith("convert.py: "):
        fail(f"an absent file: exit status {absent.returncode}: {absent.stderr}")
    if run().returncode != 2 or run("--dtype", "f8", "a", "b").returncode != 2 or run("--set", "x", "a", "b").returncode != 2:
        fail("bad usage does not exit with 2")
    tensors, settings = fairseq_case()
    fairseq_cfg_case()
    old_case()
    port_case()
    fla_cases()
    refusals(tensors, settings)
    sys.exit(1 if failures else 0)


main()
