"""What every room of the house shares. Light: nothing here loads torch or transformers."""
