"""What a workspace knows, for other programs: DICOM SEG, SR and SC, masks, tables. Every file is read back.

Two modes, never mixed. *Anonymous*, the default, says nothing of the patient. *With identity*, for the
archive that holds the source, repeats its patient and study attributes: else
the object would not be filed beside it.
"""
