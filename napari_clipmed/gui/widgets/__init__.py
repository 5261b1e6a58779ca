"""Small parts that the docks are put together from; each shows what it is given and holds no work."""
