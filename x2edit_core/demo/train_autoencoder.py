"""`python -m x2edit_core.demo.train_autoencoder`, now `x2edit_core.miniature.train_autoencoder`."""

from ..miniature.train_autoencoder import main

if __name__ == "__main__":
    main()
