"""Pages and pictures drawn from saved results, a folder for each product; no model, no torch."""
