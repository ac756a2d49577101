"""The methods: functions from a case to a score for every patch, each with its paper in its docstring.

To add one, write such a function in a file of your own and list it:

    METHODS = (Method("my map", "zero-pass", my_map),)

`lapilli scorecard --plus FILE` measures what the file lists beside the others.
"""
