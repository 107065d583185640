"""Times a flat transformer VAE in PyTorch: the rival of a training step on an accelerator. Needs torch; prints JSON.

One latent, 7 + 7 layers, width 128, 144 tokens: what a user would write first, with as many parameters as the config
`folk-plain` (2.9 million). bfloat16 autocast and fused AdamW, eager and compiled.

`accelerator.py` runs it in a process of its own.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCAB, TOKENS, HEADS, LATENT = 131, 144, 4, 128


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, dim: int, causal: bool):
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(dim), nn.RMSNorm(dim)])
        self.project, self.output = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """float[batch, token, dim] to the same."""
        batch, length, dim = x.shape
        heads = self.project(self.norms[0](x)).view(batch, length, 3, HEADS, dim // HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, length, dim))
        return x + self.narrow(functional.gelu(self.widen(self.norms[1](x)), approximate="tanh"))


class Twin(nn.Module):
    """The loss of a VAE: nll + KL per window, in nats."""

    def __init__(self, dim: int, layers: int):
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCAB + 1, dim), nn.Parameter(torch.zeros(TOKENS, dim))
        self.encoder = nn.Sequential(*(Layer(dim, False) for _ in range(layers)))
        self.decoder = nn.Sequential(*(Layer(dim, True) for _ in range(layers)))
        self.posterior, self.condition = nn.Linear(dim, 2 * LATENT), nn.Linear(LATENT, dim)
        self.logits = nn.Sequential(nn.RMSNorm(dim), nn.Linear(dim, VOCAB))

    def forward(self, tokens: Tensor) -> Tensor:
        """int[batch, token] to the mean loss of the batch."""
        features = self.encoder(self.embed(tokens) + self.place).mean(1)
        loc, log_scale = self.posterior(features).float().chunk(2, -1)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        kl = (0.5 * (loc**2 + (2 * log_scale).exp() - 1) - log_scale).sum(-1)
        past = functional.pad(tokens[:, :-1], (1, 0), value=VOCAB)
        logits = self.logits(self.decoder(self.embed(past) + self.place + self.condition(z)[:, None]))
        nll = functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="sum")
        return nll / len(tokens) + kl.mean()


def tokens_per_second(batch_size: int, steps: int, dim: int, layers: int, compiled: bool) -> tuple[int, float]:
    """The number of parameters, and the tokens of a batch over the mean time of a training step."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Twin(dim, layers).to(device)
    loss: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    tokens = torch.randint(VOCAB, (batch_size, TOKENS), device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            value = loss(tokens)
        value.backward()
        optimizer.step()

    for _ in range(max(steps // 10, 2)):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / steps
    return sum(leaf.numel() for leaf in model.parameters()), batch_size * TOKENS / seconds


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 1024])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--modes", nargs="+", choices=["eager", "compiled"], default=["eager", "compiled"])
    args = parser.parse_args()
    found: dict[str, float | str] = {"torch": torch.__version__}
    for batch_size in args.batch_size:
        for mode in args.modes:
            size = args.steps, args.dim, args.layers
            found["parameters"], speed = tokens_per_second(batch_size, *size, compiled=mode == "compiled")
            found[f"{mode}.batch_{batch_size}.tokens_per_second"] = speed
    print(json.dumps(found))
