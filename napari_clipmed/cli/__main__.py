"""Run the command line as ``python -m napari_clipmed.cli``; the window starts its own jobs this way."""

from napari_clipmed.cli import main

main()
