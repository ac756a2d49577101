"""Why a model said what it said: an answer taken apart and tested, as arrays, words and a page."""
