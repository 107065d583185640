"""Rewrites the result files of this folder: figures by dotted names, recipes with one config per level. Runs once."""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LEVELS = ("global", "local", "fine")
LEVEL, SPAN = "(global|local|fine)", "(measure|phrase|window)"
SPANS = {"global": "window", "local": "phrase", "fine": "measure"}  # those of all committed runs
KINDS = {"active_units_a": "active_a", "active_units_b": "active_b"}
KINDS |= {"active_units_a_raw": "active_a_raw", "active_units_b_raw": "active_b_raw"}


def name_of_figure(name: str, levels: list[str]) -> str:
    """The dotted name of a figure, given the levels that are on."""
    groups = "(?:_(rhythm|pitch|harmony|dynamics|style))?"
    if name in ("kl_per_phrase", "probe_windows", "flow_windows", "flow_draws"):
        return {"probe_windows": "flow.probe_windows"}.get(name, name.replace("flow_", "flow."))
    if found := re.fullmatch(rf"kl_{LEVEL}{groups}(|_per_phrase|_per_latent)", name):
        level, group, unit = found.groups()
        return f"levels.{level}.{f'groups.{group}.' if group else ''}kl{unit}"
    if found := re.fullmatch(rf"(active_units_[ab](?:_raw)?|mutual_information)_{LEVEL}{groups}", name):
        kind, level, group = found.groups()
        return f"levels.{level}.{f'groups.{group}.' if group else ''}{KINDS.get(kind, kind)}"
    if found := re.fullmatch(rf"probe_r2_{LEVEL}_{SPAN}(?:_(\w+))?", name):
        level, span, rest = found.groups()
        rest = rest or "r2"
        rest = rest if rest in ("r2", "within_metre", "shuffled") else f"attributes.{rest}"
        return f"flow.probes.{span}.{level}.{rest}"
    estimate = f"{name.removesuffix('_se')}.{'se' if name.endswith('_se') else 'value'}"
    if found := re.fullmatch(rf"replace_{LEVEL}_(prior_mean|noise|other_piece)(\..*)", estimate):
        return f"flow.replaced.{found[1]}.{found[2]}{found[3]}"
    if found := re.fullmatch(rf"swap_{LEVEL}_kl_{LEVEL}(\..*)", estimate):
        return f"flow.swapped.{found[1]}.{found[2]}{found[3]}"
    if estimate.startswith("skip_share."):
        return f"flow.{estimate}"
    places = {f"top_{k}": f"decoded.{level}" for k, level in enumerate(["priors", *levels])}
    places |= {f"top_{k}_minus_top_{k - 1}": f"added.{level}" for k, level in enumerate(levels, 1)}
    places["shuffled"] = "decoded.another_piece"
    if found := re.fullmatch(rf"({'|'.join(places)})_r2_{SPAN}(_within_metre|)(\..*)", estimate):
        return f"flow.{places[found[1]]}.r2{found[3]}.{found[2]}{found[4]}"
    if found := re.fullmatch(rf"({'|'.join(places)})_((?:chroma|rhythm|onset_f1)\..*)", estimate):
        return f"flow.{places[found[1]]}.{found[2]}"
    if found := re.fullmatch(r"baseline_(\w+)_perplexity", name):
        return f"baselines.{found[1]}"
    if found := re.fullmatch(r"(nll|perplexity)_iwae_(\d+)", name):
        return f"iwae.{found[1]}"
    kept = {"perplexity", "onset_perplexity", "perplexity_elbo", "nll", "kl", "onset_f1", "onset_f1_swapped"}
    kept |= {"split", "num_examples", "step", "checkpoint", "seed", "parameters", "train_seconds", "devices"}
    kept |= {f"accuracy_{kind}{of}" for kind in ("teacher_forced", "free_running") for of in ("", "_onsets")}
    if name in kept:
        return name
    if found := re.fullmatch(r"perplexity_(\w+)", name):
        return f"perplexity_of_field.{found[1]}"
    raise ValueError(f"no new name for {name!r}")


def convert_figures(figures: dict[str, Any]) -> dict[str, Any]:
    levels = [level for level in LEVELS if f"kl_{level}" in figures]
    new: dict[str, Any] = {}
    for name, value in figures.items():
        if found := re.fullmatch(rf"kl_per_dim_{LEVEL}", name):
            pairs = {f"levels.{found[1]}.kl_per_dim.{dim}": number for dim, number in value.items()}
        elif found := re.fullmatch(r"nll_iwae_(\d+)", name):
            pairs = {"iwae.draws": int(found[1]), "iwae.nll": value}
        else:
            pairs = {name_of_figure(name, levels): value}
        if name == "flow_draws":
            pairs |= {f"flow.own_span.{level}": SPANS[level] for level in levels}
        if set(pairs) & set(new):
            raise ValueError(f"{name!r} is there twice as {', '.join(pairs)}")
        new |= pairs
    if levels == ["global"]:  # older files leave out what follows: all KL is that of one latent, whose prior is N(0, 1)
        implied = {"kl_per_phrase": new["kl_per_phrase"], "kl_per_latent": new["levels.global.kl"]}
        implied |= {f"{rule}_raw": new[f"levels.global.{rule}"] for rule in ("active_a", "active_b")}
        new = {f"levels.global.{name}": value for name, value in implied.items()} | new
    return {name: new[name] for name in [n for n in figures if n in new] + [n for n in new if n not in figures]}


def convert_recipe(old: dict[str, Any]) -> dict[str, Any]:
    """The settings of `musicvae_jax.config.flat`, without those that a recipe leaves out."""
    old = dict(old)
    new: dict[str, Any] = {}
    deltas, norms, heads = (old.pop(f"model.{name}") for name in ("delta_levels", "batch_norm_levels", "span_heads"))
    alpha, gamma = old.pop("model.delta_alpha"), old.pop("model.batch_norm_gamma")
    context = old.pop("model.prior_context")
    for level in LEVELS:
        place, objective = f"levels.{level}", f"objective.{level}_level."
        dim = old.pop(f"model.{level}_dim")
        new[f"{place}.dim"] = dim
        new[f"{place}.span"] = 0 if level == "global" else old.pop(f"model.{level}_span")
        new[f"{place}.groups"] = old.pop(f"model.{level}_groups")
        new[f"{place}.base"] = "ar1" if level in deltas else "normal"
        new[f"{place}.alpha"] = alpha if level in deltas else 0.9
        new[f"{place}.prior_context"] = context if dim and level != "global" else "independent"
        new[f"{place}.kl_estimate"] = "exact"
        new[f"{place}.batch_norm"] = gamma if level in norms else 0.0
        new[f"{place}.span_head"] = level in heads
        for name in [name for name in old if name.startswith(objective)]:
            new[f"{place}.{name.removeprefix(objective)}"] = old.pop(name)
    parts = ("codec", "data", "model", "levels", "objective", "train", "evaluation")
    named = {**old, **new}
    return {name: named[name] for part in parts for name in named if name.startswith(f"{part}.")}


def main() -> None:
    for path in sorted(HERE.glob("*.json")):
        figures = json.loads(path.read_text())
        if "split" in figures:
            path.write_text(json.dumps(convert_figures(figures), indent=2) + "\n")
    for path in sorted((HERE / "ablations").glob("*.jsonl")):
        lines = []
        for line in path.read_text().splitlines():
            row = json.loads(line)
            head = {name: row.pop(name) for name in ("ablation", "variant", "seed")}
            recipe = convert_recipe(row.pop("recipe"))
            lines.append(json.dumps({**head, **convert_figures(row), "recipe": recipe}) + "\n")
        path.write_text("".join(lines))


if __name__ == "__main__":
    main()
