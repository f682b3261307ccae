"""Landmark systems of others, run under the same protocol as the models of this project.

A peer is given the photo and the box of the true landmarks, as our models are (dlib's ERT that of the
inner landmarks), and cuts its own crop from it.
"""

__all__ = [
    "adapter",
    "dlib_ert",
    "face_landmark",
    "facemesh",
    "facemesh_worker",
    "load",
    "network",
    "peer",
    "tddfa",
]
