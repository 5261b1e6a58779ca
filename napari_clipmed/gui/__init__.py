"""The napari window: docks, layers, jobs. The only room that imports napari and Qt."""
