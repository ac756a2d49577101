"""LLaVAs on the disk: read in every layout that is about, written in any other, adapters merged."""
