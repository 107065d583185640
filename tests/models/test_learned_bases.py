"""Laws of mixtures and flows: densities, draws, the identity at the start, and gradients at the edges."""

from functools import partial
from typing import Any

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from musicvae_jax.config import LevelConfig, ModelConfig
from musicvae_jax.models.latent.bases import Normal, log_ratio, noise_width
from musicvae_jax.models.latent.gaussian import GaussianHead, from_frame
from musicvae_jax.models.latent.learned_bases import make_base
from musicvae_jax.types import Gaussian
from tests.models.variants import DEEP, infer, make_features
from tests.tiny import make_batch, make_vae, replace

WIDTH = 8
KINDS: dict[str, dict[str, Any]] = {
    "mixture": {"base": "mixture", "modes": 3},
    "vamp": {"base": "vamp", "modes": 3},
    "affine": {"base": "flow", "flow_layers": 3},
    "spline": {"base": "flow", "flow": "spline", "flow_layers": 3},
}
SCALES = {"spline": 0.15}  # of the parameters; larger ones make splines that a grid cannot follow
all_kinds = pytest.mark.parametrize("kind", KINDS)


class Holder(nn.Module):
    """A base as a level has it, beside the head of the level's posterior."""

    level: LevelConfig
    dtype: Any = "float32"

    def setup(self):
        config = ModelConfig(dim=WIDTH, num_heads=1, dtype=self.dtype)
        self.head = GaussianHead(config, self.level.dim)
        self.base = make_base(config, self.level, self.head)

    def __call__(self, e, context):
        self.head(jnp.zeros(WIDTH))
        return self.base.log_prob(e, context)

    def sample(self, noise, context, temperature=1.0):
        return self.base.sample(noise, context, temperature)

    def call(self, name, *arguments):
        return getattr(self.base, name)(*arguments)


class Known:
    """A base with its parameters."""

    def __init__(
        self, kind: str, dim: int = 2, *, scale: float | None = None, dtype: str = "float32", context=None, seed=0
    ):
        self.level = LevelConfig(dim=dim, kl_estimate="draw", **KINDS[kind])
        self.holder = Holder(self.level, dtype)
        width = jnp.float64 if dtype == "float64" else jnp.float32
        self.context = None if context is None else jnp.asarray(context, width)
        start = jax.jit(self.holder.init)(jax.random.key(seed), jnp.zeros((1, dim), width), self.context)
        rng = np.random.default_rng(seed)
        scale = SCALES.get(kind, 0.4) if scale is None else scale
        self.variables = jax.tree.map(
            lambda leaf: leaf + jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype), start
        )

        self._log_prob = jax.jit(self.holder.apply)
        self._sample = jax.jit(partial(self.holder.apply, method="sample"))

    def log_prob(self, e):
        return self._log_prob(self.variables, e, self.context)

    def sample(self, noise, temperature=1.0):
        return self._sample(self.variables, noise, self.context, temperature)

    def noise(self, number, seed=1):
        return jax.random.normal(jax.random.key(seed), (number, noise_width(self.level)))

    def call(self, name, *arguments):
        return self.holder.apply(self.variables, name, *arguments, method="call")


def grid(dim, reach=14.0, side=401):
    """Points at even distances, and the volume of each."""
    axis = np.linspace(-reach, reach, side)
    points = np.stack(np.meshgrid(*[axis] * dim), -1).reshape(-1, dim)
    return jnp.asarray(points, jnp.float32), (axis[1] - axis[0]) ** dim


CASES: list[tuple[str, int, Any]] = [("mixture", 1, None), ("vamp", 1, None), *((kind, 2, None) for kind in KINDS)]
CASES += [(kind, 2, np.linspace(-1, 1, WIDTH)[None]) for kind in ("mixture", "affine", "spline")]


@pytest.mark.parametrize(("kind", "dim", "context"), CASES)
def test_the_density_integrates_to_one_and_is_that_of_the_draws(kind, dim, context):
    base = Known(kind, dim, context=context)
    points, volume = grid(dim)
    density = np.exp(np.asarray(base.log_prob(points), np.float64)) * volume
    assert density.sum() == pytest.approx(1, abs=2e-3)
    drawn = np.asarray(base.sample(base.noise(20_000)), np.float64)
    for measure in (lambda e: e, lambda e: e**2, lambda e: np.cos(e + 1), lambda e: np.tanh(e[:, :1] * e[:, -1:])):
        values, expected = measure(drawn), (density[:, None] * measure(np.asarray(points))).sum(0)
        assert (np.abs(values.mean(0) - expected) < 5 * values.std(0) / np.sqrt(len(values)) + 2e-3).all()


@pytest.mark.parametrize("kind", ["affine", "spline"])
def test_a_flow_inverts_itself_and_knows_its_volume(kind):
    with jax.enable_x64(True):
        base = Known(kind, 5, dtype="float64", context=np.ones((1, WIDTH)))
        u = jnp.asarray(np.random.default_rng(2).normal(size=(20, 5)))
        e = base.sample(u)
        assert np.abs(e - u).max() > 0.3
        standard = distrax.Normal(jnp.zeros(5), jnp.ones(5)).log_prob(u).sum(-1)
        slopes = jax.jit(jax.vmap(jax.jacobian(lambda row: base.sample(row[None])[0])))(u)
        volume = np.linalg.slogdet(slopes)[1]
        np.testing.assert_allclose(base.log_prob(e), standard - volume, atol=1e-5)
        inverse = partial(base.holder.apply, method=lambda module, e: module.base.bijector(base.context).inverse(e))
        back = jax.jit(inverse)(base.variables, e)
        np.testing.assert_allclose(back, u, atol=1e-5)


@pytest.mark.parametrize("kind", ["affine", "spline"])
@pytest.mark.parametrize("context", [None, np.ones((1, WIDTH))])
def test_a_flow_starts_as_the_normal(kind, context):
    base = Known(kind, 4, scale=0.0, context=context)
    noise = 2 * base.noise(50)
    np.testing.assert_allclose(base.sample(noise), noise, atol=1e-5)
    np.testing.assert_allclose(base.log_prob(noise), Normal().log_prob(noise, None), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", [None, np.linspace(-2, 2, WIDTH)[None]])
def test_a_mixture_has_the_density_of_its_modes(context):
    base = Known("mixture", 3, context=context)
    log_weight, modes = base.call("__call__", base.context)
    assert (context is None) == (log_weight.ndim == 1)
    weight = np.asarray(jax.nn.softmax(log_weight), np.float64).reshape(-1)
    e = np.asarray(base.sample(base.noise(9)))
    of_modes = zip(weight, modes.loc, np.exp(modes.log_scale), strict=True)
    each = np.stack([share * stats.norm.pdf(e, loc, scale).prod(-1) for share, loc, scale in of_modes], -1)
    np.testing.assert_allclose(base.log_prob(e), np.log(each.sum(-1)), rtol=1e-4)
    shares = np.exp(base.call("log_responsibilities", e, base.context))
    np.testing.assert_allclose(shares, each / each.sum(-1, keepdims=True), rtol=1e-3, atol=1e-6)


def test_vamp_is_the_mean_of_the_posteriors_of_its_inputs():
    base = Known("vamp", 2)
    features = base.variables["params"]["base"]["features"]
    posteriors = base.holder.apply(base.variables, features, method=lambda module, x: module.head(x))
    e = np.random.default_rng(0).normal(size=(6, 1, 2))
    each = stats.norm.logpdf(e, posteriors.loc, np.exp(posteriors.log_scale)).sum(-1)
    np.testing.assert_allclose(base.log_prob(jnp.asarray(e[:, 0])), np.log(np.exp(each).mean(-1)), rtol=1e-4)


def test_the_mean_log_ratio_is_the_kl_where_that_is_known():
    """A mixture of equal modes is a Gaussian."""
    base = Known("mixture", 2, scale=0.0)
    params = base.variables["params"]["base"]
    base.variables = {"params": {**base.variables["params"], "base": jax.tree.map(jnp.zeros_like, params)}}
    q = Gaussian(jnp.array([0.7, -0.3]), jnp.array([-0.5, 0.2]))
    e = from_frame(jax.random.normal(jax.random.key(0), (20_000, 2)), q)
    ratio = np.asarray(base.holder.apply(base.variables, e, method=lambda m, e: log_ratio(m.base, q, e, None)))
    kl = float(Normal().kl(q, None).total)
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(ratio.mean() - kl) < 5 * error and kl > 20 * error


@all_kinds
def test_temperature_narrows_and_the_last_number_chooses_the_mode(kind):
    base = Known(kind)
    noise = base.noise(3000)
    cold, warm = (np.asarray(base.sample(noise, temperature)) for temperature in (0.0, 1.0))
    assert cold.var(0).sum() < warm.var(0).sum()
    assert len(np.unique(cold.round(4), axis=0)) == (3 if kind in ("mixture", "vamp") else 1)
    with pytest.raises(ValueError, match="no KL in closed form"):
        base.call("kl", Gaussian(noise[:, :2], noise[:, :2]), None)


@all_kinds
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_finite_at_the_edges(kind, dtype):
    base = Known(kind, dtype=dtype)
    far = jnp.array([[0.0, 0.0], [1e4, -1e4], [4.999, 5.001], [-80.0, 80.0]])
    params = base.variables["params"]
    if kind == "mixture":
        params = {**params, "base": {**params["base"], "log_weight": jnp.array([-1e4, 0.0, 1e4])}}
        params["base"]["loc"] = params["base"]["loc"].at[0].set(1e5)

    def loss(params, e):
        return base.holder.apply({"params": params}, e, None).sum()

    value, slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, far)
    assert value.dtype == jnp.float32
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, slopes)))


LEVEL_BASES = replace(
    DEEP,
    **{"global": {"base": "vamp", "kl_estimate": "draw", "modes": 3}},
    local={"base": "mixture", "kl_estimate": "draw", "modes": 3},
    fine={"base": "flow", "kl_estimate": "draw", "flow_layers": 2},
)  # fmt: skip


def test_a_base_below_the_top_hears_the_levels_above():
    """At equal e, the ratio of a level changes with the latents above it, also with their frames held."""
    vae, variables = make_vae(LEVEL_BASES)
    batch = make_batch()
    features = make_features(LEVEL_BASES)
    found = infer(vae, variables, features, batch.metre)
    for level in ("local", "fine"):
        latents = found.latents | {"global": found.latents["global"] + 1}

        def prior(module, above, level=level, found=found):
            stack = module.stack
            e = found.residual[level].loc
            return stack.bases[level].log_prob(e, stack.contexts[level](above, batch.metre))

        names = ["global", "local", "fine"]
        above = [{name: own[name] for name in names[: names.index(level)]} for own in (found.latents, latents)]
        one, other = (np.asarray(jax.jit(partial(vae.apply, method=prior))(variables, own)) for own in above)
        present = np.asarray(found.present[level])
        assert (np.abs(one - other)[present] > 1e-4).all()


@pytest.mark.parametrize("posterior", ["residual", "absolute"])
def test_the_kl_trains_the_frame_of_an_absolute_posterior_only(posterior):
    """A residual posterior moves with its frame, so its KL from N(0, 1) has no gradient for the frame."""
    config = replace(DEEP, local={"posterior": posterior}, fine={"posterior": posterior})
    vae, variables = make_vae(config)
    batch, features = make_batch(), make_features(config)

    def kl(params):
        return infer(vae, {"params": params}, features, batch.metre).kl["local"].total.sum()

    slope = jax.jit(jax.grad(kl))(variables["params"])["priors_local"]
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(slope))
    assert largest > 1e-3 if posterior == "absolute" else largest == 0


def test_an_absolute_posterior_is_stated_in_z():
    """What the music says of z does not move with the frame; its KL is that of two Gaussians."""
    config = replace(DEEP, local={"posterior": "absolute"})
    vae, variables = make_vae(config)
    batch, features = make_batch(), make_features(config)
    found = infer(vae, variables, features, batch.metre, draw=False)
    moved = jax.tree.map(np.array, variables)
    moved["params"]["priors_local"]["head"]["loc"]["bias"] += 1
    again = infer(vae, moved, features, batch.metre, draw=False)
    np.testing.assert_allclose(found.latents["local"], again.latents["local"], atol=1e-5)
    assert np.abs(found.residual["local"].loc - again.residual["local"].loc).max() > 0.1
    frame, residual = found.frame["local"], found.residual["local"]
    z = distrax.Normal(frame.loc + np.exp(frame.log_scale) * residual.loc, np.exp(frame.log_scale + residual.log_scale))
    closed = z.kl_divergence(distrax.Normal(frame.loc, np.exp(frame.log_scale))).sum(-1)
    present = np.asarray(found.present["local"])
    np.testing.assert_allclose(np.asarray(found.kl["local"].total)[present], np.asarray(closed)[present], rtol=1e-4)
