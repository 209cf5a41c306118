"""What is run with compacter_jax: training, measurements, recordings."""
