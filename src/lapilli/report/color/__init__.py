"""Pages of studies: figures over many questions, each with its interval and with what chance gives."""
