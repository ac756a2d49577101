"""Shares, means, areas, ranks and sets, with intervals and p values whose stated rates the tests hold by simulation."""
