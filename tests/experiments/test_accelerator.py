"""The script for an accelerator, on a CPU."""

import json

import jax
import jax.numpy as jnp
import pytest
from accelerator import PARTS, largest_operations


def test_the_largest_operations_of_a_trace(tmp_path):
    x = jnp.ones((600, 600))
    compiled = jax.jit(lambda x: jnp.sin(x @ x).sum()).lower(x).compile()
    compiled(x).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        compiled(x).block_until_ready()
    (trace,) = tmp_path.rglob("*.xplane.pb")
    shares = largest_operations(trace, 50)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    program = compiled.as_text() or ""
    assert all(name in program for name in shares)
    assert largest_operations(trace, 1) == dict(list(shares.items())[:1])


@pytest.mark.slow
def test_a_dry_run_measures_every_part(folk_data_dir, tmp_path, call):
    path = tmp_path / "new" / "dry.json"
    status, out, error = call("accelerator.py", "--dry-run", "--json", path, "--data-dir", folk_data_dir)
    assert status == 0, error
    found = json.loads(path.read_text())
    assert list(found) == list(PARTS)
    assert found["first_step"]["debug"]["warm"] > 0
    for step in found["training"].values():
        if isinstance(step, dict):
            assert 0 < step["matmul_peak_share"] < 1 and step["tokens_per_second"] > 0
    assert "written" in out
