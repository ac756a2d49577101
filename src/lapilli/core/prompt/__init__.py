"""How a conversation becomes a string, and where in it each part lies."""
