"""In which layers a base and its tuned version read pictures: withdrawn, entering late, and blocked in windows."""
