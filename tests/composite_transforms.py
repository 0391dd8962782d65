"""Transforms as ANTs leaves them in a composite ``.h5``, with the places they lead to known.

The order is that of https://github.com/ANTsX/ANTs/issues/120 (to the template L o S, its inverse
inv(S) o inv(L)) and of the queue of https://itk.org/Doxygen/html/classitk_1_1CompositeTransform.html
(T0 o T1 = T0(T1(x))): affine, warp; and inverse warp, inverse affine.
"""

import shutil

import h5py
import numpy as np
import SimpleITK as sitk

from pipeline.core.transforms import apply_affine, rigid_matrix

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Known:
    """MNI space to T1w: a smooth warp, then an affine; RAS+ mm.

    The warp moves each axis by a sine of one other axis, one axis after another, so that it has an
    inverse in closed form.
    """

    def __init__(self, amplitude_mm=4.0, affine=None):
        if affine is None:
            affine = rigid_matrix(np.array([7.0, -12, 21]), np.radians([11.0, -7, 5]))
            affine[:3, :3] *= [0.93, 0.9, 0.96]
        self.affine, self.amplitude_mm = affine, amplitude_mm

    def _wave(self, values):
        return self.amplitude_mm * np.sin(values / 35.0 + 0.4)

    def warped(self, points):
        x, y, z = (axis.astype(float) for axis in points)
        x = x + self._wave(y)
        y = y + self._wave(z)
        z = z + self._wave(x)
        return np.stack([x, y, z])

    def unwarped(self, points):
        x, y, z = (axis.astype(float) for axis in points)
        z = z - self._wave(x)
        y = y - self._wave(z)
        x = x - self._wave(y)
        return np.stack([x, y, z])

    def _linear(self, points, matrix):
        return np.moveaxis(apply_affine(matrix, np.moveaxis(points, 0, -1)), -1, 0)

    def to_t1w(self, points):
        """Places (3, ...) of the T1w for points of MNI space."""
        return self._linear(self.warped(points), self.affine)

    def to_mni(self, points):
        """Places of MNI space for points of the T1w."""
        return self.unwarped(self._linear(points, np.linalg.inv(self.affine)))

    def wrong_to_t1w(self, points):
        """Where the other order would lead."""
        return self.warped(self._linear(points, self.affine))

    def wrong_to_mni(self, points):
        """Where the other order would lead back."""
        return self._linear(self.unwarped(points), np.linalg.inv(self.affine))


def write_composite(known, folder, names=("there.h5", "back.h5"), spacing_mm=2.0):
    """``from-T1w_to-MNI`` and ``from-MNI_to-T1w``; the warps on a grid of MNI space."""
    low, high = np.array([-98.0, -134, -72]), np.array([98.0, 98, 116])
    size = ((high - low) / spacing_mm).astype(int) + 1
    warps = [_field(low, size, spacing_mm, way) for way in (known.warped, known.unwarped)]
    linear = [_affine(known.affine), _affine(np.linalg.inv(known.affine))]
    queues = ([linear[0], warps[0]], [warps[1], linear[1]])
    paths = [folder / name for name in names]
    for path, queue in zip(paths, queues, strict=True):
        sitk.WriteTransform(sitk.CompositeTransform(queue), str(path))
    return paths


def _affine(ras):
    lps = _LPS @ ras @ _LPS
    transform = sitk.AffineTransform(3)
    # ANTs turns about a centre of its own
    centre = np.array([3.0, -20, 8])
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation((lps[:3, 3] - centre + lps[:3, :3] @ centre).tolist())
    return transform


def _field(low, size, spacing_mm, way):
    axes = [low[i] + spacing_mm * np.arange(size[i]) for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    displacement = (way(points) - points) * np.array([-1, -1, 1]).reshape(3, 1, 1, 1)
    image = sitk.GetImageFromArray(displacement.transpose(3, 2, 1, 0), isVector=True)
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin((low * [-1, -1, 1]).tolist())
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    return sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))


def as_float(path, target):
    """The same in single precision, as ``antsRegistration --float`` of sMRIPrep writes it."""
    shutil.copy(path, target)
    with h5py.File(target, "r+") as file:
        for group in file["TransformGroup"].values():
            kind = group["TransformType"][0].decode().replace("double", "float")
            group["TransformType"][0] = kind
            if "TransformParameters" in group:
                values = group["TransformParameters"][()].astype(np.float32)
                del group["TransformParameters"]
                chunk = (min(values.size, 1 << 20),)
                group.create_dataset(
                    "TransformParameters", data=values, chunks=chunk, compression="gzip"
                )
    return target
