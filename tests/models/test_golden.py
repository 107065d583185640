"""Regression: names and shapes of the parameters, and the losses of four models, are written down.

Parameters are made by a formula, not drawn, so the numbers hold on any version of JAX. After a change that is meant to
change a model, ``python -m tests.models.test_golden`` prints the new numbers.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import Config
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.types import Field
from tests.models.variants import DEEP, each, off
from tests.tiny import SLOTS, make_batch, replace

THREE = replace(DEEP, model={"context": "none"})
CAUSAL = each(("local", "fine"), prior_context="causal")
MODELS = {
    "basic": replace(DEEP, **off(("local", "fine"))),
    "three levels": THREE,
    "ladder": replace(THREE, model={"inference": "ladder", "context": "previous"}, **CAUSAL),
    "slotwise, span heads": replace(
        THREE, model={"slotwise": True}, objective={"span_weight": 0.1}, **each(span_head=True)
    ),
}
FIELDS = (Field("melody", 7),)


def measure(config: Config) -> tuple[str, int, list[list[float]]]:
    """A digest of the names and shapes of the parameters, their number, and the losses of three windows.

    The losses are nll, the KL of each level and the nll of each span head, with z at the posterior means.
    """
    vae = MusicVAE(config.model, config.levels, fields=FIELDS, slots=SLOTS)
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

    def losses(module):
        found = module.stack.infer(module.encoder(batch)[0], batch.metre, draw=False)
        nll = token_nll(module.decode(found.latents, batch), batch).sum((-3, -2, -1))
        heads = [head(found.latents, batch) for head in module.span_heads.values()]
        return jnp.stack([nll, *(kl.total.sum(-1) for kl in found.kl.values()), *heads])

    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    numbers = jax.jit(lambda variables: vae.apply(variables, method=losses))(jax.tree.unflatten(tree, filled))
    return digest, sum(leaf.size for leaf in filled), numbers.tolist()


GOLDEN = {
    "basic": ("6cb82371eb2c8938", 21827, """
        18.292027 18.015392 26.558108
        0.48028421 0.42015442 0.45273088"""),
    "three levels": ("687fdc675212aade", 29167, """
        18.654224 16.347857 29.178799
        1.2470022 1.1051233 1.2575679
        0.26915735 1.6185427 1.4851938
        0.19917637 0.72260058 0.43042233"""),
    "ladder": ("37b792d437434c80", 35423, """
        18.609993 16.703283 29.206753
        0.66637957 0.92005395 0.88694030
        0.27119586 0.48222652 0.49273238
        1.8587503 2.6888726 2.5486555"""),
    "slotwise, span heads": ("32dbed67c2def99b", 33024, """
        20.028221 20.127954 28.507360
        0.47583490 0.49037671 0.52859402
        0.22246380 0.98824179 0.62923259
        0.28071365 0.46333012 0.52753222
        16.432142 18.923477 27.290531
        16.369471 19.203606 27.280516
        16.590107 18.850933 27.546003"""),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_parameters_and_losses_are_what_they_were(name):
    digest, size, numbers = measure(MODELS[name])
    assert (digest, size) == GOLDEN[name][:2]
    np.testing.assert_allclose(np.ravel(numbers), np.array(GOLDEN[name][2].split(), float), rtol=1e-5)


if __name__ == "__main__":
    for name, config in MODELS.items():
        print(name, measure(config))
