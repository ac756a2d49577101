"""Whether an installation does what it vouches for, with the releases of all packages that are installed here."""
