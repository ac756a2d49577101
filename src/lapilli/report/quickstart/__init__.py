"""The page of a quickstart.

`schema` fixes what the results hold, `story` finds what is worth saying about them, `charts` draws them and `page`
writes the page.
"""
