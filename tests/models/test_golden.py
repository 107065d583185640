"""The models stay what they are: their parameters by name and shape, and their losses, written down.

Parameters are made by a formula, not drawn, so that the numbers hold on any version of JAX. After a change that is
meant to change a model: ``python -m tests.models.test_golden`` prints the new numbers. Those of the basic VAE are older
than the other levels and options, and hold with all of them off.
"""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import token_nll
from musicvae_jax.types import Field
from tests.tiny import SLOTS, make_batch

BASIC = ModelConfig(
    dim=16,
    num_heads=2,
    encoder_slot_layers=1,
    encoder_measure_layers=1,
    conductor_layers=1,
    decoder_layers=2,
    global_dim=6,
)
THREE = dataclasses.replace(BASIC, local_dim=4, fine_dim=3, local_span=2, context="none")
MODELS = {
    "basic": BASIC,
    "three levels": THREE,
    "ladder": dataclasses.replace(THREE, inference="ladder", prior_context="causal", context="previous"),
    "slotwise, span heads": dataclasses.replace(THREE, slotwise=True, span_heads=("global", "local", "fine")),
}
FIELDS = (Field("melody", 7),)


def measure(model: ModelConfig) -> tuple[str, int, list[list[float]]]:
    """A digest of the parameters' names and shapes, their number, and nll, the levels' KL and the span heads' nll of
    three windows, z at the means."""
    vae = MusicVAE(model, fields=FIELDS, slots=SLOTS)
    batch = make_batch(3, fields=FIELDS)
    batch = batch._replace(tokens=np.where(batch.mask[..., None], (np.arange(36) % 7).reshape(3, 3, 4, 1), 0))
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: vae.init({"params": key, "latent": key}, batch))
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    names = [f"{jax.tree_util.keystr(path)} {leaf.shape}" for path, leaf in leaves]
    filled = [
        0.4 * np.sin(1.0 + number + 0.7 * np.arange(leaf.size)).reshape(leaf.shape).astype(np.float32)
        for number, (_, leaf) in enumerate(leaves)
    ]

    def infer(module, batch):
        return module.levels.infer(module.encoder(batch)[0], batch.metre, draw=False)

    def heads(module, latents, batch):
        return [head(latents, batch) for head in module.span_heads.values()]

    @jax.jit
    def terms(variables):
        found = vae.apply(variables, batch, method=infer)
        logits = vae.apply(variables, found.latents, batch, method="decode")
        nll = token_nll(logits, batch).sum((-3, -2, -1))
        span_nll = vae.apply(variables, found.latents, batch, method=heads)
        return jnp.stack([nll, *(found.kl[level].sum((-2, -1)) for level in model.widths), *span_nll])

    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    numbers = terms(jax.tree.unflatten(tree, filled))
    return digest, sum(leaf.size for leaf in filled), [[float(value) for value in row] for row in numbers]


GOLDEN = {
    "basic": (
        "6cb82371eb2c8938",
        21827,
        [[18.292027, 18.015392, 26.558108], [0.48028421, 0.42015442, 0.45273088]],
    ),
    "three levels": (
        "687fdc675212aade",
        29167,
        [
            [18.654224, 16.347857, 29.178799],
            [1.2470022, 1.1051233, 1.2575679],
            [0.26915735, 1.6185427, 1.4851938],
            [0.19917637, 0.72260058, 0.43042233],
        ],
    ),
    "ladder": (
        "37b792d437434c80",
        35423,
        [
            [18.609993, 16.703283, 29.206753],
            [0.66637957, 0.92005395, 0.88694030],
            [0.27119586, 0.48222652, 0.49273238],
            [1.8587503, 2.6888726, 2.5486555],
        ],
    ),
    "slotwise, span heads": (
        "32dbed67c2def99b",
        33024,
        [
            [20.028221, 20.127954, 28.507360],
            [0.47583490, 0.49037671, 0.52859402],
            [0.22246380, 0.98824179, 0.62923259],
            [0.28071365, 0.46333012, 0.52753222],
            [16.432142, 18.923477, 27.290531],
            [16.369471, 19.203606, 27.280516],
            [16.590107, 18.850933, 27.546003],
        ],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_parameters_and_loss_are_what_they_were(name):
    digest, size, numbers = measure(MODELS[name])
    assert (digest, size) == GOLDEN[name][:2]
    np.testing.assert_allclose(numbers, GOLDEN[name][2], rtol=1e-5)


if __name__ == "__main__":
    for name, model in MODELS.items():
        print(name, measure(model))
