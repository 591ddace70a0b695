"""One module per verb; ``run`` composes them."""
