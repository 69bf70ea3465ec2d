"""RetNets in torch and double precision, written from torchscale's and flash-linear-attention's formulas in their own
layouts: what convert_test.py compares the library with. Returns logits and final states."""

import torch
import torch.nn.functional as F


def decay_matrix(decay, count):
    """D[h, n, m] = decay_h^(n - m) for n >= m, else 0."""
    distance = torch.arange(count)[:, None] - torch.arange(count)[None, :]
    powers = decay[:, None, None] ** distance.clamp(min=0)
    return powers * (distance >= 0)


def raw_retention(q, k, v, decay):
    """q, k [B, H, T, K], v [B, H, T, V] to outputs [B, H, T, V] and the state [B, H, K, V] after the last token."""
    count = q.shape[2]
    mask = decay_matrix(decay, count)
    out = (q @ k.transpose(-1, -2) * mask) @ v
    return out, (k * mask[:, -1, :, None]).transpose(-1, -2) @ v


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, T, H * width] to [B, H, T, width]


def rms(x, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def interleave_rotate(x, theta):
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * theta.repeat_interleave(2)
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * angle.cos() + turned * angle.sin()


def half_rotate(x, theta):
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * theta
    a, b = x.chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)


class Weights:
    """Tensors behind a prefix, as float64."""

    def __init__(self, tensors, prefix):
        self.tensors, self.prefix = tensors, prefix

    def get(self, name):
        tensor = self.tensors.get(self.prefix + name)
        return None if tensor is None else tensor.double()

    def linear(self, x, name):
        return F.linear(x, self.get(name + ".weight"), self.get(name + ".bias"))


def torchscale(tensors, prefix, config, ids, eps):
    """The recurrent form's numbers: outputs are divided by sqrt(s_n) before the group norm."""
    w, heads = Weights(tensors, prefix), config["decoder_retention_heads"]
    old = w.get("layers.0.retention.q_proj.bias") is not None
    act = {"swish": F.silu, "gelu": F.gelu, "relu": F.relu}[config["activation_fn"]]

    def norm(x, name):
        if old:
            return F.layer_norm(x, x.shape[-1:], w.get(name + ".weight"), w.get(name + ".bias"), eps)
        return rms(x, eps) * w.get(name + ".weight")

    embedding = w.get("embed_tokens.weight")
    hidden, count = embedding.shape[1], ids.shape[1]
    key_size = hidden // heads
    theta = w.get("retnet_rel_pos.angle")
    theta = 10000 ** -torch.linspace(0, 1, key_size // 2, dtype=torch.float64) if theta is None else theta[::2]
    decay = w.get("retnet_rel_pos.decay")
    decay = 1 - 2.0 ** (-5 - torch.arange(heads, dtype=torch.float64)) if decay is None else decay.exp()
    sums = decay_matrix(decay, count).sum(-1)  # s_n [H, T]

    x = embedding[ids] * (1 if config["no_scale_embedding"] else hidden ** 0.5)
    if w.get("layernorm_embedding.weight") is not None:
        x = norm(x, "layernorm_embedding")
    states = {}
    for i in range(config["decoder_layers"]):
        layer = f"layers.{i}."
        y = norm(x, layer + "retention_layer_norm")
        q, k, v = (split(w.linear(y, layer + f"retention.{c}_proj"), heads) for c in "qkv")
        q, k = interleave_rotate(q, theta), interleave_rotate(k * key_size ** -0.5, theta)
        out, state = raw_retention(q, k, v, decay)
        out = out / sums.sqrt()[..., None]
        if old:
            out = out - out.mean(-1, keepdim=True)
        out = rms(out, eps).transpose(1, 2).flatten(-2)
        x = x + w.linear(F.silu(w.linear(y, layer + "retention.g_proj")) * out, layer + "retention.out_proj")
        y = norm(x, layer + "final_layer_norm")
        a = act(w.linear(y, layer + "ffn.fc1"))
        if not old:
            a = a * w.linear(y, layer + "ffn.gate")
        elif w.get(layer + "ffn.ffn_layernorm.weight") is not None:
            a = norm(a, layer + "ffn.ffn_layernorm")
        x = x + w.linear(a, layer + "ffn.fc2")
        states[f"state.{i}.prev_key_value"] = state.transpose(-1, -2) / sums[:, -1, None, None].sqrt()
        states[f"state.{i}.scale"] = sums[:, -1]
    head = tensors.get("lm_head.weight", w.get("output_projection.weight"))
    return norm(x, "layer_norm") @ (embedding if head is None else head.double()).T, states


def fla(tensors, config, ids):
    w, heads, kv_heads = Weights(tensors, "model."), config["num_heads"], config["num_kv_heads"]
    key_size = w.get("layers.0.attn.q_proj.weight").shape[0] // heads
    theta = 10000 ** (-2 * torch.arange(key_size // 2, dtype=torch.float64) / key_size)
    decay = 1 - 2.0 ** (-5 - torch.arange(heads, dtype=torch.float64))
    eps = config["norm_eps"]
    x, states = w.get("embeddings.weight")[ids], {}
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}."
        y = rms(x, eps) * w.get(layer + "attn_norm.weight")
        q = half_rotate(split(w.linear(y, layer + "attn.q_proj"), heads), theta)
        k = half_rotate(split(w.linear(y, layer + "attn.k_proj"), kv_heads), theta)
        v = split(w.linear(y, layer + "attn.v_proj"), kv_heads)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        out, states[f"state.{i}.recurrent_state_f64"] = raw_retention(q * key_size ** -0.5, k, v, decay)
        out = rms(out, eps) * w.get(layer + "attn.g_norm_swish_gate.weight")
        out = out.transpose(1, 2).flatten(-2) * F.silu(w.linear(y, layer + "attn.g_proj"))
        x = x + w.linear(out, layer + "attn.o_proj")
        y = rms(x, eps) * w.get(layer + "mlp_norm.weight")
        gate = w.linear(y, layer + "mlp.gate_proj")
        if w.get(layer + "mlp.up_proj.weight") is None:
            gate, up = gate.chunk(2, -1)
        else:
            up = w.linear(y, layer + "mlp.up_proj")
        x = x + w.linear(F.silu(gate) * up, layer + "mlp.down_proj")
    head = tensors.get("lm_head.weight", tensors["model.embeddings.weight"]).double()
    return rms(x, eps) * w.get("norm.weight") @ head.T, states
