"""Keys that stand for images and patients without telling who they are."""

from __future__ import annotations

import secrets
from hashlib import scrypt, sha256

from napari_clipmed.records.words import PatientBasis
from napari_clipmed.study import Study


def case_key(study: Study) -> str:
    """Key of a study made from its pixels and SOP Instance UIDs; the same in every workspace."""
    parts = [study.image_hash, *(view.source.sop_instance_uid for view in study.views)]
    return sha256("|".join(parts).encode()).hexdigest()[:32]


def patient_key(study: Study, salt: str) -> tuple[str, PatientBasis]:
    """Key that groups the studies of one patient within one workspace.

    scrypt with the workspace's own salt: patient numbers are short, and a plain hash of one could be
    guessed by trying them all. Whoever holds the workspace can still test a single suspected number.

    Parameters
    ----------
    study : Study
        Read for its patient ID; failing that, for name with birth date; failing that, for its DICOM study.
    salt : str
        Secret of the workspace.

    Returns
    -------
    key : str
        64 hexadecimal digits.
    basis : PatientBasis
        What the key stands for.
    """
    identity = study.identity
    study_uid = next((v.source.study_instance_uid for v in study.views if v.source.study_instance_uid), "")
    if identity.patient_id:
        basis, words = PatientBasis.PATIENT, identity.patient_id.strip()
    elif identity.name and identity.birth_date:
        basis, words = PatientBasis.PATIENT, f"{identity.name.strip().upper()}|{identity.birth_date}"
    elif study_uid:
        basis, words = PatientBasis.STUDY, study_uid
    else:
        basis, words = PatientBasis.CASE, study.image_hash
    key = scrypt(f"{basis}|{words}".encode(), salt=bytes.fromhex(salt), n=2**13, r=8, p=1, dklen=32)
    return key.hex(), basis


def new_salt() -> str:
    """Secret of a new workspace, 64 hexadecimal digits."""
    return secrets.token_hex(32)
