"""Pages and pictures drawn from saved results; no model, no torch.

`schema` fixes what the results hold, `story` finds what is worth saying about them, `charts` draws them and `page`
writes the page.
"""
