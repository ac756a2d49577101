"""Questions that need several rooms at once, each with a run folder and a page."""
