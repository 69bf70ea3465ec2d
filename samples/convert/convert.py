#!/usr/bin/env python3
"""Turn a RetNet checkpoint of fairseq or Hugging Face (.pt, .bin) into a directory that retnet loads."""

# README.md beside this file tells what is read and written. Needs torch and safetensors; the library needs neither.

import argparse
import json
import os
import pickle
import re
import shutil
import sys
import zipfile

PREFIXES = ("", "decoder.", "model.", "model.decoder.")  # before torchscale's names, as the library knows them

# Parts of tensor names, and what they mean.
REFUSED_TENSORS = ((".moe_layer.", "a mixture of experts"), (".A.", "a multiway model"), (".B.", "a multiway model"),
                   (".q_conv1d.", "a short convolution"), (".k_conv1d.", "a short convolution"),
                   (".v_conv1d.", "a short convolution"))
# Settings that change the computation where they are set to anything but null, false or 0.
REFUSED_SETTINGS = (("moe_freq", "a mixture of experts"), ("multiway", "a multiway model"),
                    ("deepnorm", "DeepNorm's scaling"), ("no_output_layer", "a model without output layer"),
                    ("use_short_conv", "a short convolution"), ("attn", "a hybrid with attention layers"),
                    ("feature_map", "a feature map"), ("attnres_block_size", "an attention residual"))
# What a fairseq checkpoint's settings say about the model; everything else in them is about training.
TORCHSCALE_SETTINGS = ("decoder_embed_dim", "decoder_value_embed_dim", "decoder_ffn_embed_dim", "decoder_layers",
                       "decoder_retention_heads", "activation_fn", "layernorm_eps", "no_scale_embedding",
                       "layernorm_embedding", "share_decoder_input_output_embed", "decoder_normalize_before",
                       "use_lm_decay", "bos_token_id", "eos_token_id")
# Tensors without influence: fairseq's format version, fla's table of frequencies.
IGNORED = re.compile(r"(^|\.)(version|rotary\.inv_freq)$")

SCALE_HINT = "--set no_scale_embedding=false if embeddings are multiplied by sqrt(decoder_embed_dim), as fairseq's " \
             "presets do, else true"


class Failure(Exception):
    """What is wrong with the checkpoint, in one line."""


# ---- Reading --------------------------------------------------------------------------------------------------------

def load_file(torch, path):
    """The file's content. Nothing but tensors, containers and argparse.Namespace is made of it: no code of it runs."""
    allow = getattr(torch.serialization, "add_safe_globals", None)
    if allow:
        allow([argparse.Namespace])  # fairseq's settings; torch.load knows no such class before torch 2.4
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        unknown = re.search(r"(?:Unsupported (?:global|class|operand)|GLOBAL|WeightsUnpickler error)[^\n]*", str(error))
        raise Failure(f"{path}: holds more than tensors and plain values, and none of that was run: "
                      f"{unknown.group(0) if unknown else str(error).splitlines()[0]}. Save the tensors alone, "
                      'as {"model": model.state_dict()}, and state the settings with --config or --set') from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise Failure(f"{path}: cannot be read: {(str(error) or type(error).__name__).splitlines()[0]}") from error


def checkpoint_files(path):
    """The files of a checkpoint, and the directory that may hold its config.json and tokenizer.model."""
    if not os.path.isdir(path):
        return [path], os.path.dirname(path) or "."
    index = os.path.join(path, "pytorch_model.bin.index.json")
    if os.path.exists(index):
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        if not names or any(os.path.basename(name) != name for name in names):
            raise Failure(f"{index}: expected a weight_map to names of files")
        return [os.path.join(path, name) for name in names], path
    names = sorted(name for name in os.listdir(path) if name.endswith((".pt", ".bin")))
    if len(names) != 1:
        raise Failure(f"{path}: expected pytorch_model.bin.index.json or one .pt or .bin file, found {len(names)}")
    return [os.path.join(path, names[0])], path


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise Failure(f"{path}: expected a JSON object")
    return content


def as_dict(settings):
    return dict(vars(settings)) if isinstance(settings, argparse.Namespace) else dict(settings or {})


def split_content(torch, path, content):
    """Tensors by name, and fairseq's settings or {}, of a loaded file."""
    settings = {}
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        cfg = as_dict(content.get("cfg"))
        settings = as_dict(cfg.get("model")) or as_dict(content.get("args"))
        content = content["model"]
    elif isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise Failure(f"{path}: holds no dictionary of tensors")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise Failure(f"{path}: expected tensors by name, found {type(tensor).__name__} as {name!r}")
    return content, settings


def read_checkpoint(torch, path):
    tensors, settings = {}, {}
    files, directory = checkpoint_files(path)
    for file in files:
        part, said = split_content(torch, file, load_file(torch, file))
        twice = next((name for name in part if name in tensors), None)
        if twice:
            raise Failure(f"{file}: tensor {twice} is in another file too")
        tensors.update(part)
        settings.update(said)
    return {name: tensor for name, tensor in tensors.items() if not IGNORED.search(name)}, settings, directory


# ---- Checking -------------------------------------------------------------------------------------------------------

def refuse_variants(tensors, settings):
    for name in tensors:
        for part, what in REFUSED_TENSORS:
            if part in name:
                raise Failure(f"tensor {name}: {what} is not supported")
    for name, what in REFUSED_SETTINGS:
        if settings.get(name) not in (None, False, 0):
            raise Failure(f"{name} = {settings[name]!r}: {what} is not supported")
    if settings.get("decoder_normalize_before") is False:
        raise Failure("decoder_normalize_before = False: norms after the residual are not supported")


def layer_count(tensors, prefix):
    numbers = (re.match(re.escape(prefix) + r"layers\.(\d+)\.", name) for name in tensors)
    return 1 + max((int(number.group(1)) for number in numbers if number), default=-1)


def need(tensors, name, rank=None):
    if name not in tensors:
        raise Failure(f"tensor {name} is missing")
    if rank and tensors[name].dim() != rank:
        raise Failure(f"tensor {name}: shape {list(tensors[name].shape)}, {rank} dimension(s) expected")
    return tensors[name]


def check_names(tensors, required, optional):
    for name in required:
        need(tensors, name)
    extra = sorted(set(tensors) - set(required) - set(optional))
    if extra:
        raise Failure(f"tensor {extra[0]} is none that the library knows ({len(extra)} such)")


def check_value(settings, name, found):
    """What the shapes tell; a setting that says otherwise is an error, one that is absent is filled in."""
    if settings.setdefault(name, found) != found:
        raise Failure(f"{name} is stated as {settings[name]!r}, but the tensors have {found}")


def require_setting(settings, name, hint):
    if settings.get(name) is None:
        raise Failure(f"{name} is not stated by the checkpoint: give {hint}")


# ---- torchscale -----------------------------------------------------------------------------------------------------

def torchscale_names(tensors, prefix, layers, old):
    modules = ["retention.q_proj", "retention.k_proj", "retention.v_proj", "retention.g_proj", "retention.out_proj",
               "retention_layer_norm", "final_layer_norm", "ffn.fc1", "ffn.fc2"]
    gates = [] if old else ["ffn.gate"]
    inner = ["ffn.ffn_layernorm"] if prefix + "layers.0.ffn.ffn_layernorm.weight" in tensors else []
    parts = (".weight", ".bias") if old else (".weight",)
    names = [f"{prefix}layers.{i}.{module}{part}" for i in range(layers)
             for module in modules + gates + inner for part in parts]
    names += [prefix + "embed_tokens.weight"] + [prefix + "layer_norm" + part for part in parts]
    return names, [prefix + "layernorm_embedding" + part for part in parts]


def torchscale_config(tensors, prefix, stated):
    """The stated settings, completed by what the shapes tell."""
    config = {name: value for name, value in stated.items() if value is not None}
    layers = layer_count(tensors, prefix)
    old = prefix + "layers.0.retention.q_proj.bias" in tensors
    names, embedding_norm = torchscale_names(tensors, prefix, layers, old)
    heads = [name for name in ("lm_head.weight", prefix + "output_projection.weight") if name in tensors]
    buffers = [prefix + "retnet_rel_pos.angle", prefix + "retnet_rel_pos.decay"]
    check_value(config, "decoder_layers", layers)
    check_names(tensors, names, embedding_norm + heads[:1] + buffers)

    embedding = need(tensors, prefix + "embed_tokens.weight", 2)
    check_value(config, "vocab_size", embedding.shape[0])
    check_value(config, "decoder_embed_dim", embedding.shape[1])
    if old:  # settings of that time do not know the field
        config["decoder_value_embed_dim"] = need(tensors, prefix + "layers.0.retention.v_proj.weight", 2).shape[0]
    check_value(config, "decoder_value_embed_dim", need(tensors, prefix + "layers.0.retention.v_proj.weight", 2).shape[0])
    check_value(config, "decoder_ffn_embed_dim", need(tensors, prefix + "layers.0.ffn.fc1.weight", 2).shape[0])
    check_value(config, "layernorm_embedding", embedding_norm[0] in tensors)
    if buffers[1] in tensors:
        check_value(config, "decoder_retention_heads", need(tensors, buffers[1], 1).shape[0])
    require_setting(config, "decoder_retention_heads", "--set decoder_retention_heads=N")
    require_setting(config, "activation_fn", '--set activation_fn=swish (fairseq\'s presets), gelu or relu')
    require_setting(config, "no_scale_embedding", SCALE_HINT)
    if old:
        require_setting(config, "layernorm_eps", "--set layernorm_eps=1e-5 (until August 2023) or 1e-6")
    config.setdefault("layernorm_eps", 1e-6)
    tied = config.get("share_decoder_input_output_embed") or config.get("tie_word_embeddings") or not heads
    if "tie_word_embeddings" not in config:
        config["share_decoder_input_output_embed"] = bool(tied)
    config.setdefault("model_type", "retnet")
    return config, heads[0] if tied and heads else None, prefix + "embed_tokens.weight"


# ---- flash-linear-attention -----------------------------------------------------------------------------------------

def fla_names(tensors, layers, config):
    modules = ["attn_norm", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "mlp_norm", "mlp.gate_proj",
               "mlp.down_proj"]
    if config.get("use_output_gate", True):
        modules.append("attn.g_proj")
    if "model.layers.0.mlp.up_proj.weight" in tensors:  # else the legacy layout, where gate_proj holds both
        modules.append("mlp.up_proj")
    required = [f"model.layers.{i}.{module}.weight" for i in range(layers) for module in modules]
    optional = [f"model.layers.{i}.attn.{norm}.weight" for i in range(layers)
                for norm in ("g_norm", "g_norm_swish_gate")]
    return required + ["model.embeddings.weight", "model.norm.weight"], optional + ["lm_head.weight"]


def fla_config(tensors, stated):
    """config.json as it is: heads and widths cannot be told from the shapes."""
    if not stated:
        raise Failure("no config.json: put it beside the checkpoint or name it with --config")
    config = dict(stated)
    layers = layer_count(tensors, "model.")
    embedding = need(tensors, "model.embeddings.weight", 2)
    check_value(config, "model_type", "retnet")
    check_value(config, "num_hidden_layers", layers)
    check_value(config, "vocab_size", embedding.shape[0])
    check_value(config, "hidden_size", embedding.shape[1])
    check_names(tensors, *fla_names(tensors, layers, config))
    tied = config.get("tie_word_embeddings", False)
    if not tied:
        need(tensors, "lm_head.weight", 2)
    return config, "lm_head.weight" if tied and "lm_head.weight" in tensors else None, "model.embeddings.weight"


# ---- Writing --------------------------------------------------------------------------------------------------------

def convert_tensor(torch, name, tensor, dtype):
    """The tensor in a dtype that the library reads, with memory of its own."""
    target = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}.get(dtype)
    if tensor.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise Failure(f"tensor {name}: {tensor.dtype} is not supported")
    if "retnet_rel_pos." in name or not target:  # rotation and decay lose too much in 16 bits
        target = torch.float32 if tensor.dtype == torch.float64 else tensor.dtype
    converted = tensor.detach().to(target)
    if not bool(torch.isfinite(converted).all()):
        raise Failure(f"tensor {name}: holds values that are not finite" +
                      ("" if target == tensor.dtype else f" as {dtype if dtype != 'keep' else 'f32'}"))
    return converted.contiguous().clone() if converted.data_ptr() == tensor.data_ptr() else converted.contiguous()


def write_directory(save_file, directory, tensors, config, tokenizer):
    """All files or, after a failure, none of them under its final name."""
    written = []
    try:
        os.makedirs(directory, exist_ok=True)
        for name in ("config.json", "model.safetensors", "model.safetensors.index.json"):
            if os.path.exists(os.path.join(directory, name)):
                raise Failure(f"{directory}: there is a {name} already")
        def part(name):
            written.append((os.path.join(directory, name + ".part"), os.path.join(directory, name)))
            return written[-1][0]
        save_file(tensors, part("model.safetensors"), metadata={"format": "pt"})
        with open(part("config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
        if os.path.exists(tokenizer) and not os.path.exists(os.path.join(directory, "tokenizer.model")):
            shutil.copyfile(tokenizer, part("tokenizer.model"))
        for temporary, final in written:
            os.replace(temporary, final)
    except OSError as error:
        raise Failure(f"{directory}: {error}") from error
    finally:
        for temporary, _ in written:
            if os.path.exists(temporary):
                os.remove(temporary)


# ---- The whole ------------------------------------------------------------------------------------------------------

def parse_set(text):
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, found {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # a bare word


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="convert.py", description=__doc__,
        epilog="Weights keep their values; torchscale's row order is left to the library. A directory that holds a "
               "checkpoint already is left alone. Exit status: 0 success, 1 failure, 2 bad usage.")
    parser.add_argument("input", metavar="INPUT", help="a .pt or .bin file, or a directory with one, or with "
                        "pytorch_model.bin.index.json and its shards")
    parser.add_argument("output", metavar="OUT_DIR", help="gets config.json and model.safetensors, and tokenizer.model "
                        "if there is one beside the input; made if need be")
    parser.add_argument("--config", metavar="FILE", help="the model's config.json; default: the one beside the input")
    parser.add_argument("--set", metavar="FIELD=VALUE", type=parse_set, action="append", default=[],
                        help="a config field that the checkpoint does not state or states wrongly; repeatable")
    parser.add_argument("--dtype", choices=("keep", "f32", "f16", "bf16"), default="keep",
                        help="how weights are stored; default: as they are, 64 bits as f32")
    return parser.parse_args()


def stated_settings(arguments, settings, directory):
    """What is said about the model: fairseq's settings or config.json, then --set."""
    beside = os.path.join(directory, "config.json")
    if arguments.config:
        settings = read_json(arguments.config)
    elif settings:
        kept = TORCHSCALE_SETTINGS + tuple(name for name, _ in REFUSED_SETTINGS)
        settings = {name: value for name, value in settings.items() if name in kept}
    elif os.path.exists(beside):
        settings = read_json(beside)
    return {**settings, **dict(arguments.set)}


def convert(torch, save_file, arguments):
    tensors, settings, directory = read_checkpoint(torch, arguments.input)
    stated = stated_settings(arguments, settings, directory)
    refuse_variants(tensors, stated)
    prefix = next((prefix for prefix in PREFIXES if prefix + "embed_tokens.weight" in tensors), None)
    if "model.embeddings.weight" in tensors:
        config, copy, embedding = fla_config(tensors, stated)
    elif prefix is not None:
        config, copy, embedding = torchscale_config(tensors, prefix, stated)
    else:
        raise Failure("neither model.embeddings.weight (flash-linear-attention) nor embed_tokens.weight (torchscale) "
                      f"is among the tensors, which begin with {sorted(tensors)[0]}")
    if copy:
        if not torch.equal(tensors[copy], tensors[embedding]):
            raise Failure(f"tensor {copy} differs from {embedding}, to which the settings tie it")
        del tensors[copy]
    tensors = {name: convert_tensor(torch, name, tensor, arguments.dtype) for name, tensor in tensors.items()}
    write_directory(save_file, arguments.output, tensors, config, os.path.join(directory, "tokenizer.model"))
    count = sum(tensor.numel() for name, tensor in tensors.items() if "retnet_rel_pos." not in name)
    print(f"{arguments.output}: {len(tensors)} tensors, {count} parameters")


def main():
    arguments = parse_arguments()
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        sys.exit(f"convert.py: {error}; it needs the Python packages torch and safetensors")
    try:
        convert(torch, save_file, arguments)
    except Failure as failure:
        sys.exit(f"convert.py: {failure}")


if __name__ == "__main__":
    main()
