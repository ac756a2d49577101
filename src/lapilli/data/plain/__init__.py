"""Plain English: conversations to tune on beside pictures, and what shows whether a model can still talk."""
