"""Named sets of config variants x seeds: what is planned, what is done, and the table of what came out."""
