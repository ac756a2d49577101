"""Scenes: small pictures whose truth is known exactly.

`vocabulary` names what may occur, `scene` samples it, `draw` paints it, `describe` and `questions` put it into words,
`dataset` writes it all as LLaVA JSON beside its pictures.
"""
