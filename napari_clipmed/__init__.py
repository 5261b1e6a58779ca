"""Interactive annotation and review of cerebral DSA runs and chest X-rays.

Research use only, not for diagnosis.
"""

__version__ = "0.1.0"
