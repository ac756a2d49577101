"""Which layers of a tuned model bring back what it gained: parts of one model put into the other, both ways."""
