"""What holds for every test: no network, and one thread, on which small networks are fastest."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
