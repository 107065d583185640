"""Pictures and sound of music, curves of training runs."""
