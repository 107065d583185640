"""The basic VAE stays what it is: its parameters by name and shape, and its loss, written down.

Parameters are made by a formula, not drawn, so that the numbers hold on any version of JAX. After a change that is
meant to change the model: ``python -m tests.models.test_golden`` prints the new numbers.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import token_nll
from musicvae_jax.types import Field
from tests.tiny import SLOTS, make_batch

MODEL = ModelConfig(
    dim=16,
    num_heads=2,
    encoder_slot_layers=1,
    encoder_measure_layers=1,
    conductor_layers=1,
    decoder_layers=2,
    global_dim=6,
)
FIELDS = (Field("melody", 7),)


def measure() -> tuple[str, int, list[float]]:
    """A digest of the parameters' names and shapes, their number, and nll and KL of three windows, z at the mean."""
    vae = MusicVAE(MODEL, fields=FIELDS, slots=SLOTS)
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

    @jax.jit
    def terms(variables):
        posterior = vae.apply(variables, batch, method="encode")["global"]
        logits = vae.apply(variables, {"global": posterior.loc}, batch, method="decode")
        kl = 0.5 * (posterior.loc**2 + jnp.exp(2 * posterior.log_scale) - 1) - posterior.log_scale
        return jnp.stack([token_nll(logits, batch).sum((-3, -2, -1)), kl.sum((-2, -1))])

    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    numbers = terms(jax.tree.unflatten(tree, filled))
    return digest, sum(leaf.size for leaf in filled), [float(value) for value in numbers.ravel()]


def test_parameters_and_loss_are_the_basic_vae():
    digest, size, numbers = measure()
    assert (digest, size) == (DIGEST, SIZE)
    np.testing.assert_allclose(numbers, NUMBERS, rtol=1e-5)


DIGEST, SIZE = "6cb82371eb2c8938", 21827
NUMBERS = [18.292027, 18.015392, 26.558108, 0.48028421, 0.42015442, 0.45273088]

if __name__ == "__main__":
    print(measure())
