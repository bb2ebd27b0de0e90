"""The IPython kernel of the code interpreter: ipykernel's, with output that waits for its reader and comes by whole lines,
results as the SDKs want them, environment variables for one execution, and random numbers that differ between copies of a snapshot."""
