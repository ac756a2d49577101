"""What a model does when something is changed: attention cut, patches removed, heads ablated."""
