"""Many studies through one model: as a pipeline on this machine, or on a Dask cluster."""
