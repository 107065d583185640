"""Looking into latents and steering them; pictures and sound of music, curves of training runs."""
