"""The archive of a hospital (PACS) over DICOMweb or DIMSE: ask what it has, retrieve studies, store results."""
