"""How the small models that come with the package were trained."""
