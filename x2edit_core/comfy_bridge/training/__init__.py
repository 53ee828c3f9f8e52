"""Training in the host: models, text, set-up, the node and the script."""
