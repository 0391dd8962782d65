"""The brain mask of deepbet, a neural network that an optional extra brings."""

from __future__ import annotations

from importlib.util import find_spec

import nibabel as nib
import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume


def deepbet_is_installed() -> bool:
    """Whether the extra is there; nothing of it is imported."""
    return find_spec("deepbet") is not None and find_spec("torch") is not None


def deepbet_mask(t1w: Volume, threads: int = 1) -> Volume:
    """Brain mask of a head, bool.

    The weights come with the package; nothing is fetched.

    Parameters
    ----------
    t1w : Volume
        T1w image of a head, any orientation.
    threads : int
        Of the processor.

    Raises
    ------
    DataError
        If the network sees no brain.

    References
    ----------
    .. [1] Fisch L et al. (2024). deepbet: fast brain extraction of T1-weighted MRI using
       convolutional neural networks. Comput Biol Med 179:108845.
    """
    import torch
    from deepbet import BrainExtraction

    torch.set_num_threads(threads)
    try:
        image = nib.Nifti1Image(t1w.data.astype(np.float32), t1w.affine)
        mask = BrainExtraction(no_gpu=True).run(image)[1]
    except (AssertionError, RuntimeError, ValueError) as error:
        # an empty first mask ends in one of these, by what is left of the image
        raise DataError("deepbet sees no brain in the T1w image; check the image") from error
    return t1w.with_data(np.asarray(mask.dataobj) > 0)
