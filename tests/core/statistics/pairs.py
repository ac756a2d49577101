"""Areas under ROC curves as scipy counts pairs."""

from scipy.stats import mannwhitneyu


def auc(positive, negative):
    """The share of pairs in which the positive is higher, ties half."""
    return mannwhitneyu(positive, negative).statistic / len(positive) / len(negative)
