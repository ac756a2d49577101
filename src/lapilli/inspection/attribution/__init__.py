"""Where an answer came from: sums over what was added, and other maps, from a trace."""
