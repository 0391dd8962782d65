"""The transform against published taps, PyWavelets, and itself."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.kinetics.wavelets import StationaryWavelet, battle_lemarie_low_pass

PUBLISHED_16_TAPS = [
    *(0.008772, -0.018163, -0.017349, 0.04249, 0.032403, -0.111141, -0.050705, 0.438277),
    *(0.773817, 0.438277, -0.050705, -0.111141, 0.032403, 0.04249, -0.017349, -0.018163),
]


def taps(n):
    """The n taps around the centre, which is at n // 2, of the sum sqrt(2)."""
    grid = 4096
    response = battle_lemarie_low_pass(2 * np.pi * np.arange(grid) / grid)
    return np.roll(np.sqrt(2) * np.fft.ifft(response).real, n // 2)[:n]


def round_trip(volume, depth):
    wavelet = StationaryWavelet(shape=volume.shape, depth=depth)
    spectrum = wavelet.spectrum(volume)
    return wavelet.volume(
        sum(
            wavelet.restored(wavelet.coefficients(spectrum, band), band)
            for band in wavelet.sub_bands
        )
    )


def test_response_is_the_published_one():
    angular = np.linspace(0.05, 3.1, 40)

    def series(w):
        return sum((w + 2 * np.pi * k) ** -8.0 for k in range(-36, 37))

    expected = np.sqrt(series(angular) / (2**8 * series(2 * angular)))
    np.testing.assert_allclose(battle_lemarie_low_pass(angular), expected, rtol=1e-10, atol=1e-12)


def test_truncated_taps_are_the_published_ones():
    kept = taps(16)
    np.testing.assert_allclose(kept * np.sqrt(2) / kept.sum(), PUBLISHED_16_TAPS, atol=1e-5)


def test_filters_are_orthonormal():
    angular = np.linspace(-7, 7, 1001)
    power = battle_lemarie_low_pass(angular) ** 2 + battle_lemarie_low_pass(angular + np.pi) ** 2
    np.testing.assert_allclose(power, 1, atol=1e-13)


@pytest.mark.parametrize("shape", [(31, 27, 45), (32, 40, 36), (17, 1, 9)])
@pytest.mark.parametrize("depth", [1, 3, 4])
@pytest.mark.parametrize("sigma", [0, 3])
def test_round_trip_is_exact(shape, depth, sigma):
    volume = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    volume = ndimage.gaussian_filter(volume, sigma) + np.float32(sigma)
    error = np.abs(round_trip(volume, depth) - volume).max()
    assert error < 1e-5 * np.abs(volume).max()  # float32; 16 taps would err by 9 to 19 %


def test_float32_stays_float32():
    wavelet = StationaryWavelet(shape=(12, 10, 9), depth=2)
    spectrum = wavelet.spectrum(np.ones((12, 10, 9), np.float32))
    band = next(iter(wavelet.sub_bands))
    coefficients = wavelet.coefficients(spectrum, band)
    assert spectrum.dtype == np.complex64
    assert coefficients.dtype == np.float32
    assert wavelet.restored(coefficients, band).dtype == np.complex64


def test_constant_is_all_in_the_approximation():
    wavelet = StationaryWavelet(shape=(15, 16, 17), depth=3)
    spectrum = wavelet.spectrum(np.full((15, 16, 17), 2.0))
    *details, approximation = wavelet.sub_bands
    assert len(details) == 21
    np.testing.assert_allclose(wavelet.coefficients(spectrum, approximation), 2, rtol=1e-6)
    for band in details:
        np.testing.assert_allclose(wavelet.coefficients(spectrum, band), 0, atol=1e-6)


def test_sub_bands_are_those_of_pywavelets():
    pywt = pytest.importorskip("pywt", reason="PyWavelets is a development dependency")
    depth, low = 2, taps(64)
    high = low[::-1] * (-1.0) ** np.arange(64)
    wavelet_of_taps = pywt.Wavelet("bl64", filter_bank=[low, high, low[::-1], high[::-1]])
    volume = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((64, 72, 80)), 1)
    theirs = pywt.swtn(volume, wavelet_of_taps, depth)

    wavelet = StationaryWavelet(shape=volume.shape, depth=depth)
    spectrum = wavelet.spectrum(volume)
    for band in wavelet.sub_bands:
        name = "".join("d" if detail else "a" for detail in band.details)
        if name == "aaa" and band.level < depth:
            continue
        gain = 2 ** (1.5 * band.level)  # the taps sum to sqrt(2), along three axes
        expected = theirs[depth - band.level][name] / gain
        ours = wavelet.coefficients(spectrum, band)
        # causal filters of even length delay the coefficients: take the shift that matches best
        correlation = np.fft.ifftn(np.fft.fftn(expected) * np.conj(np.fft.fftn(ours))).real
        best = np.argmax(np.abs(correlation))
        shift = np.unravel_index(best, volume.shape)
        aligned = np.roll(ours, shift, (0, 1, 2)) * np.sign(correlation.flat[best])
        np.testing.assert_allclose(aligned, expected, atol=2e-5 * np.abs(expected).max())


def test_input_is_left_as_it_was():
    volume = np.random.default_rng(3).standard_normal((9, 8, 7)).astype(np.float32)
    before = volume.copy()
    round_trip(volume, 2)
    np.testing.assert_array_equal(volume, before)


def test_depth_is_positive():
    with pytest.raises(ValueError, match="depth"):
        StationaryWavelet(shape=(8, 8, 8), depth=0)
