"""Measures of hidden states: functions of arrays (sample, dimension), of numpy or torch, which know no model.

Each says its paper in its docstring; docs/measures.md has the formulas, what each value means and what chance gives.
"""

from lapilli.inspection.measures.alignment import cosine, logit_lens_kl, mean_cosine, procrustes, relative_l2
from lapilli.inspection.measures.clusters import density_peaks
from lapilli.inspection.measures.dimension import gride, mle_dimension, two_nn
from lapilli.inspection.measures.heads import in_output_metric
from lapilli.inspection.measures.kernels import distance_correlation, linear_cka, participation_ratio, rbf_cka
from lapilli.inspection.measures.modality import centroid_distance, cluster_homogeneity, modality_probe
from lapilli.inspection.measures.nearest import Neighbors, neighbors
from lapilli.inspection.measures.overlap import information_imbalance, neighborhood_overlap
from lapilli.inspection.measures.points import Measured, distinct, standardized
from lapilli.inspection.measures.spectrum import (
    largest_variance_share,
    norm_kurtosis,
    prompt_entropy,
    spectrum_entropy,
)
from lapilli.inspection.measures.weights import WeightChange, by_layer, weight_changes

__all__ = [
    "Measured",
    "Neighbors",
    "WeightChange",
    "by_layer",
    "centroid_distance",
    "cluster_homogeneity",
    "cosine",
    "density_peaks",
    "distance_correlation",
    "distinct",
    "gride",
    "in_output_metric",
    "information_imbalance",
    "largest_variance_share",
    "linear_cka",
    "logit_lens_kl",
    "mean_cosine",
    "mle_dimension",
    "modality_probe",
    "neighborhood_overlap",
    "neighbors",
    "norm_kurtosis",
    "participation_ratio",
    "procrustes",
    "prompt_entropy",
    "rbf_cka",
    "relative_l2",
    "spectrum_entropy",
    "standardized",
    "two_nn",
    "weight_changes",
]
