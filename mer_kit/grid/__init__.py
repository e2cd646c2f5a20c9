"""Grids: notebooks × parameters, run side by side on Dask."""
