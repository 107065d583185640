"""One TFDS builder for each data set, and the code that reads its sources; `data.prepare` finds builders by name."""
