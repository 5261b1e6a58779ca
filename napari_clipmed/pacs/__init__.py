"""The archive of a hospital (PACS) over DICOMweb or DIMSE: what it has, studies from it, results to it."""
