"""For each rule about what goes with what: configs that break it, and the least change that mends them."""

# (setting, excluded) of a rule -> cases "beside | broken -> mended", as changes of THREE: three measures, levels
# global, local of span 2, and fine. The message must quote every field of "broken".
CASES = {
    ("dim = 0 at every level", "skip, a total set point"): [
        "global.dim=0 local.dim=0 fine.dim=0 | model.skip=true -> fine.dim=3",
        "global.dim=0 local.dim=0 fine.dim=0 | objective.kl_per_phrase=9.0 -> objective.kl_per_phrase=0",
    ],
    ("dim = 0", "other settings of the level"): [
        "fine.dim=0 fine.beta=2.0 fine.base=ar1 -> fine.dim=3",
        "fine.dim=0 fine.batch_norm=0.5 -> fine.batch_norm=0 fine.span=2",
    ],
    ("fine.span", "a local.span below it"): ["fine.span=3 local.span=2 -> fine.span=2", "fine.span=3 -> local.dim=0"],
    ("base = ar1", "inference = ladder"): ["fine.base=ar1 model.inference=ladder -> model.inference=bottom_up"],
    ("base = ar1", "prior_context = causal"): [
        "local.base=ar1 local.prior_context=causal -> local.base=normal fine.base=ar1"
    ],
    ("base = ar1", "one latent in a window"): [
        "local.base=ar1 local.span=2 data.measures=2 -> data.measures=3",
        "global.base=ar1 global.span=0 -> global.base=normal",
    ],
    ("base = ar1", "batch_norm"): ["fine.base=ar1 fine.batch_norm=0.6 -> fine.batch_norm=0 local.batch_norm=0.6"],
    ("batch_norm", "inference = ladder"): ["fine.batch_norm=0.6 model.inference=ladder -> fine.batch_norm=0"],
    ("batch_norm", "prior_context = causal"): [
        "fine.batch_norm=0.6 fine.prior_context=causal -> fine.batch_norm=0 local.batch_norm=0.6"
    ],
    ("batch_norm below the top level", "level_dropout"): [
        "global.batch_norm=0.6 | local.batch_norm=0.6 model.level_dropout=0.1 -> local.batch_norm=0"
    ],
    ("batch_norm", "one window in a microbatch"): [
        "fine.batch_norm=0.6 train.batch_size=4 train.accumulate=4 -> train.accumulate=2"
    ],
    ("prior_context = causal", "one latent in a window"): [
        "local.prior_context=causal local.span=3 data.measures=3 -> data.measures=4"
    ],
    ("kl_estimate = draw", "free_bits = per_dim, per_dim_per_example"): [
        f"fine.kl_estimate=draw fine.free_bits={rule} -> fine.kl_estimate=exact"
        for rule in ("per_dim", "per_dim_per_example")
    ],
    ("kl_estimate = draw", "free_bits = total, capacity"): [
        f"fine.kl_estimate=draw fine.free_bits={rule} -> fine.kl_estimate=exact" for rule in ("total", "capacity")
    ],
    ("base = mixture, flow, vamp", "kl_estimate = exact"): [
        f"{level}.base={base} {level}.kl_estimate=exact -> {level}.kl_estimate=draw"
        for level, base in (("fine", "mixture"), ("local", "flow"), ("global", "vamp"))
    ],
    ("base = mixture, flow, vamp", "inference = ladder"): [
        f"fine.kl_estimate=draw | fine.base={base} model.inference=ladder -> model.inference=bottom_up"
        for base in ("mixture", "flow")
    ],
    ("base = mixture, flow, vamp", "batch_norm"): [
        "fine.kl_estimate=draw | fine.base=flow fine.batch_norm=0.6 -> fine.batch_norm=0"
    ],
    ("base = vamp", "a level below the top, prior_context = causal"): [
        "local.kl_estimate=draw | local.base=vamp local.prior_context=independent -> global.dim=0",
        "local.kl_estimate=draw global.dim=0 | local.base=vamp local.prior_context=causal -> local.base=flow",
    ],
    ("memory_layers, metre_context", "base = normal, ar1, vamp"): [
        "global.memory_layers=0 global.metre_context=true global.base=normal -> global.metre_context=false",
        *(
            f"fine.memory_layers=1 fine.metre_context=false fine.base={base} -> fine.memory_layers=0"
            for base in ("normal", "ar1")
        ),
    ],
    ("memory_layers", "one latent in a window"): [
        "local.kl_estimate=draw local.base=flow | local.memory_layers=1 local.span=3 data.measures=3 -> data.measures=4"
    ],
    (
        "metre_context",
        "a level below the top; a top one that reads earlier latents, no conditions",
    ): [
        "fine.kl_estimate=draw fine.base=flow | fine.metre_context=true -> fine.metre_context=false",
        *(
            f"global.dim=0 local.kl_estimate=draw local.base=flow | local.metre_context=true local.{setting} -> {end}"
            for setting, end in (
                ("memory_layers=1", "model.conditions=key"),
                ("prior_context=causal", "local.prior_context=independent"),
            )
        ),
    ],
    ("base = flow", "dim = 1"): ["fine.kl_estimate=draw | fine.base=flow fine.dim=1 -> fine.dim=2"],
    ("posterior = absolute", "inference = ladder"): [
        "fine.posterior=absolute model.inference=ladder -> model.inference=bottom_up"
    ],
    ("posterior = absolute", "batch_norm"): [
        "fine.posterior=absolute fine.batch_norm=0.6 -> fine.posterior=residual"
    ],
    ("level_dropout", "one level or none"): ["local.dim=0 fine.dim=0 | model.level_dropout=0.1 -> fine.dim=3"],
    ("span_head", "span_weight = 0"): ["fine.span_head=true objective.span_weight=0.0 -> objective.span_weight=0.1"],
    ("span_weight", "no span_head"): ["objective.span_weight=0.1 -> global.span_head=true"],
    ("attributes, group_heads", "data.attributes = false"): [
        "objective.group_head_weight=1.0 | fine.group_heads=true data.attributes=false -> data.attributes=true",
        "objective.attribute_weight=1.0 | fine.attributes=syncopation data.attributes=false -> data.attributes=true"
    ],
    ("conditions", "dim = 0 at every level"): [
        "local.dim=0 fine.dim=0 | model.conditions=key global.dim=0 -> global.dim=3",
    ],
    ("conditions", "base = vamp"): [
        "global.kl_estimate=draw global.posterior=absolute | model.conditions=key global.base=vamp "
        f"-> {mended}"
        for mended in ("global.base=mixture",)
    ],
    ("conditions with attributes", "data.attributes = false"): [
        f"| model.conditions=mean_pitch data.attributes=false -> {mended}"
        for mended in ("model.conditions=tempo", "data.attributes=true")
    ],
    ("condition_levels", "no conditions"): ["model.condition_levels=true -> model.conditions=key"],
    ("condition_levels", "one level or none"): [
        "local.dim=0 fine.dim=0 model.conditions=key | model.condition_levels=true -> local.dim=4"
    ],
    ("condition_decoder", "no conditions"): ["model.condition_decoder=true -> model.conditions=key"],
    ("attributes", "attribute_weight = 0"): [
        f"data.attributes=true | fine.attributes=syncopation objective.attribute_weight=0.0 -> {mended}"
        for mended in ("objective.attribute_weight=1.0",)
    ],
    ("attribute_weight", "no attributes"): [
        "data.attributes=true | objective.attribute_weight=1.0 -> fine.attributes=syncopation"
    ],
    ("attributes", "one window in a microbatch"): [
        f"data.attributes=true objective.attribute_weight=1.0 | fine.attributes=syncopation {case}"
        for case in ("train.batch_size=4 train.accumulate=4 -> train.accumulate=2",)
    ],
    ("group_heads", "group_head_weight = 0"): [
        f"data.attributes=true | fine.group_heads=true objective.group_head_weight=0.0 -> {mended}"
        for mended in ("objective.group_head_weight=1.0",)
    ],
    ("group_head_weight", "no group_heads"): [
        "data.attributes=true | objective.group_head_weight=1.0 -> fine.group_heads=true"
    ],
    ("control_weight", "no attributes that the codec's decoder expects"): [
        *(
            f"data.attributes=true objective.attribute_weight=1.0 fine.attributes={other} | {case}"
            for other in ("rhythmic_complexity", "syncopation")
            for case in ("objective.control_weight=1.0 -> fine.attributes=note_density",)
        ),
        *(
            f"data.attributes=true objective.attribute_weight=1.0 fine.attributes=note_density | {case}"
            for case in ("objective.control_weight=1.0 codec.name=performance -> codec.name=voices",)
        ),
    ],
    ("mode_weight", "a top level without a mixture"): [
        "data.attributes=true | objective.mode_weight=1.0 -> objective.mode_weight=0.0"
    ],
    ("mode_weight", "data.attributes = false"): [
        f"global.kl_estimate=draw global.base=mixture | objective.mode_weight=1.0 data.attributes=false -> {mended}"
        for mended in ("data.attributes=true", "objective.mode_weight=0.0")
    ],
    ("leakage_weight", "no attributes"): [
        f"data.attributes=true | objective.leakage_weight=1.0 -> {mended}"
        for mended in ("fine.attributes=syncopation objective.attribute_weight=1.0",)
    ],
    ("a term of independence", "one window in a microbatch"): [
        f"objective.{term}_weight=1.0 | train.batch_size=4 train.accumulate=4 -> train.accumulate=2"
        for term in ("orthogonality", "group_correlation", "dim_correlation", "dip")
    ],
    ("a total set point", "set points of levels"): [
        "objective.kl_per_phrase=9.0 fine.kl_per_phrase=3.0 -> objective.kl_per_phrase=0"
    ],
    ("a set point", "free_bits = capacity"): [
        "fine.kl_per_phrase=3.0 fine.free_bits=capacity -> fine.free_bits=total",
        "objective.kl_per_phrase=9.0 local.free_bits=capacity -> local.free_bits=per_dim",
    ],
    ("a set point", "a cyclical schedule"): [
        f"local.schedule_steps=9 | local.kl_per_phrase=3.0 local.schedule=cyclical_{rise} -> local.schedule=linear"
        for rise in ("linear", "cosine", "sigmoid")
    ],
    ("a set point", "beta = 0 of the level"): [
        "objective.kl_per_phrase=9.0 local.beta=0.0 -> local.beta=1e-3",
        "fine.kl_per_phrase=3.0 fine.beta=0.0 -> fine.beta=1e-3",
    ],
    ("a set point", "objective.beta = 0"): [
        "objective.kl_per_phrase=9.0 | objective.beta=0.0 -> objective.kl_per_phrase=0",
        "fine.kl_per_phrase=3.0 | objective.beta=0.0 -> objective.beta=1e-3",
    ],
    ("a set point", "controller_integral = 0"): [
        "objective.kl_per_phrase=9.0 | objective.controller_integral=0.0 -> objective.controller_integral=1e-3"
    ],
    ("schedule_steps", "a run of fewer steps"): [
        "fine.schedule=linear | fine.schedule_steps=1000 train.num_steps=999 -> train.num_steps=1000"
    ],
    # Those validations count that come once the weights have risen and before the last step, here at 100, 200, ... 900.
    ("on_collapse = stop", "fewer settled validations than collapse_patience"): [
        f"train.num_steps=1000 train.eval_every=100 {rising} | train.on_collapse=stop train.collapse_patience={case}"
        for rising, case in (
            ("", "10 -> train.collapse_patience=9"),
            ("", "10 -> train.num_steps=1001"),
            ("objective.beta_warmup_steps=801", "2 -> objective.beta_warmup_steps=800"),
            ("objective.kl_balance_steps=801", "2 -> train.on_collapse=warn"),
            ("fine.schedule=linear fine.schedule_steps=1000", "2 -> fine.schedule=cyclical_linear"),
            ("fine.free_bits=capacity fine.capacity_steps=801", "2 -> fine.capacity_steps=800"),
        )
    ],
    ("on_collapse = stop", "a set point below collapse_nats per window"): [
        "train.eval_every=100 train.num_steps=1000 | train.on_collapse=stop local.kl_per_phrase=0.9 "
        f"train.collapse_nats=1.0 -> {mended}"
        for mended in ("local.kl_per_phrase=1.0", "data.measures=5", "train.on_collapse=warn")
    ],
    ("on_collapse = stop", "a total set point below collapse_nats per window"): [
        "train.eval_every=100 train.num_steps=1000 | train.on_collapse=stop objective.kl_per_phrase=0.9 "
        f"train.collapse_nats=1.0 -> {mended}"
        for mended in ("objective.kl_per_phrase=1.0", "data.measures=5", "train.on_collapse=warn")
    ],
}  # fmt: skip
