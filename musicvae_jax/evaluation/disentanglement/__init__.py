"""How codes are related to attributes: MIG, SAP, DCI, modularity, InfoMEC and others. NumPy in, figures out.

Codes are float[row, dim]: posterior means, or draws. Attributes are float[row, attribute], NaN where undefined: such
rows are left out for that attribute alone. With ``discrete`` they are class labels. Nothing here knows a model, so any
project can use it. Estimates move with the estimator, its settings and the number of rows, so every `Score` says how it
was made.
"""

from musicvae_jax.evaluation.disentanglement.control import Control, control_scores
from musicvae_jax.evaluation.disentanglement.information import (
    InfoMEC,
    Information,
    infomec,
    interpretability,
    modularity,
    mutual_information,
    mutual_information_gap,
)
from musicvae_jax.evaluation.disentanglement.prediction import (
    DCI,
    dci,
    explicitness,
    label_accuracy,
    leakage,
    separated_attribute_predictability,
    spearman,
)
from musicvae_jax.evaluation.disentanglement.score import Gap, Score

__all__ = [
    "DCI",
    "Control",
    "Gap",
    "InfoMEC",
    "Information",
    "Score",
    "control_scores",
    "dci",
    "explicitness",
    "infomec",
    "interpretability",
    "label_accuracy",
    "leakage",
    "modularity",
    "mutual_information",
    "mutual_information_gap",
    "separated_attribute_predictability",
    "spearman",
]
