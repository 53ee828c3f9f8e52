"""File layouts of adapters: each module recognises one layout by its keys, reads it, and says everything wrong with it."""
