"""Measures a trained model on held-out music and writes WORKDIR/evaluation.json.

Example: python experiments/evaluate.py --workdir runs/folk --split test
"""

import json
from pathlib import Path

import tyro
from commandline import run

_TABLE = (
    ("perplexity_elbo", "perplexity, exp((nll + kl) / tokens): comparable with the baselines"),
    ("baseline_markov3_perplexity", "  order-3 Markov chain on the same tokens"),
    ("baseline_markov6_perplexity", "  order-6 Markov chain on the same tokens"),
    ("baseline_unigram_perplexity", "  unigram on the same tokens"),
    ("perplexity", "perplexity given the latents, exp(nll / tokens)"),
    ("onset_perplexity", "  over tokens that start a note"),
    ("nll", "reconstruction, nats per window"),
    ("kl", "KL, nats per window"),
    ("kl_per_phrase", "KL, nats per phrase of 4 measures"),
    ("accuracy_teacher_forced", "accuracy, teacher-forced"),
    ("accuracy_free_running", "accuracy, decoded from the latents alone"),
    ("onset_f1", "onset F1, decoded from the latents alone"),
    ("onset_f1_swapped", "  from the latents of another piece"),
    ("active_units_a_global", "active dims (mean posterior sigma < 0.98)"),
    ("active_units_b_global", "active dims (variance of the means >= 0.01)"),
    ("mutual_information_global", "I(x; z) estimate, nats"),
)


def evaluate(
    *,
    workdir: str,
    split: str = "test",
    checkpoint: str = "best",
    num_examples: int | None = None,
    flow_windows: int = 256,
    iwae_draws: int = 0,
    seed: int = 0,
) -> int:
    """Measures a trained model on held-out music and writes WORKDIR/evaluation.json.

    Args:
        workdir: the run's folder.
        split: which part of the data set: validation, test, test_airds.
        checkpoint: best or latest.
        num_examples: only so many windows, spread evenly over the split; all if not given.
        flow_windows: windows for what each level says, which are decoded many times; 0 leaves that out.
        iwae_draws: posterior draws for a tighter bound on the likelihood, each a pass over all; 0 leaves it out.
        seed: of the posterior draws.
    """
    from musicvae_jax.evaluation import evaluate as evaluation
    from musicvae_jax.evaluation.information_flow import information_flow
    from musicvae_jax.evaluation.tables import level_tables
    from musicvae_jax.evaluation.trained import load_workdir
    from musicvae_jax.training.parallel import set_up_devices
    from musicvae_jax.training.workdir import write_text

    set_up_devices()
    vae = load_workdir(workdir, checkpoint)
    result = evaluation.evaluate(vae, split, num_examples=num_examples, iwae_draws=iwae_draws, seed=seed)
    result |= evaluation.evaluate_baselines(vae, split, num_examples=num_examples)
    if flow_windows:
        windows = min(flow_windows, num_examples or flow_windows)
        result |= information_flow(vae, split, num_windows=windows, num_probed=4 * windows, seed=seed)
    path = Path(workdir) / "evaluation.json"
    write_text(path, json.dumps(result, indent=2) + "\n")
    print(f"\n{result['num_examples']} windows of {split!r}, checkpoint of step {vae.step}")
    for name, text in _TABLE:
        if name in result:
            print(f"  {text:<72} {result[name]:8.3f}")
    if len(vae.config.model.widths) > 1:
        print(f"\n{level_tables(result)}\n")
    print(f"everything: {path}")
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(evaluate))
