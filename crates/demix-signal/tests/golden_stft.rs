//! The transform and its inverse against scipy and librosa, within 1e-12 of the peak.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::path::{Path, PathBuf};

use demix_signal::{Complex, Padding, Spectrogram, Stft, StftSettings, Window};
use ndarray::{Array2, Array3, Axis};

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stft").join(case)
}

fn real(path: &Path) -> Vec<f64> {
    npyz::NpyFile::new(&std::fs::read(path).unwrap()[..]).unwrap().into_vec().unwrap()
}

fn complex(path: &Path) -> Array2<Complex<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = (file.shape()[0] as usize, file.shape()[1] as usize);
    Array2::from_shape_vec(shape, file.into_vec().unwrap()).unwrap()
}

fn agree(case: &str, fft: usize, hop: usize, window: Window, scipy: bool) {
    let folder = folder(case);
    let x = real(&folder.join("x.npy"));
    let settings = StftSettings { window, padding: Padding::Zero, ..StftSettings::new(fft, hop) };
    for stft in [Stft::<f64>::new(&settings).unwrap(), Stft::<f64>::portable(&settings).unwrap()] {
        // scipy's spectrum is divided by the sum of the window
        let scale = if scipy { window.samples(fft).iter().sum::<f64>() } else { 1.0 };
        let expected = complex(&folder.join("X.npy")).mapv(|x| x * scale);
        let signal = Array2::from_shape_vec((1, x.len()), x.clone()).unwrap();
        let data = stft.forward_samples(&signal).unwrap();
        // librosa leaves out the last frame, which starts behind the last whole hop
        let n_frames = expected.ncols();
        assert!(data.dim().2 == n_frames || (!scipy && data.dim().2 == n_frames + 1), "{case}: frames");
        let peak = expected.iter().fold(0.0f64, |p, x| p.max(x.norm()));
        for ((bin, frame), expected) in expected.indexed_iter() {
            let error = (data[[bin, 0, frame]] - expected).norm();
            assert!(
                error <= 1e-12 * peak,
                "{case}: X[{bin}, {frame}] differs by {:e} of the peak",
                error / peak
            );
        }
        let masked = |name: &str, mask: &dyn Fn(usize, usize) -> f64| {
            let want = real(&folder.join(name));
            let data =
                Array3::from_shape_fn((fft / 2 + 1, 1, n_frames), |(k, _, m)| expected[[k, m]] * mask(k, m));
            let spectrogram = Spectrogram { data, sample_rate: 8000, stft: settings.clone() };
            let got = stft.inverse(&spectrogram, want.len());
            let peak = want.iter().fold(0.0f64, |p, x| p.max(x.abs()));
            for (t, (got, want)) in got.index_axis(Axis(0), 0).iter().zip(&want).enumerate() {
                let error = (got - want).abs();
                assert!(
                    error <= 1e-12 * peak,
                    "{case} {name}: sample {t} differs by {:e} of the peak",
                    error / peak
                );
            }
        };
        masked("x_rec.npy", &|_, _| 1.0);
        masked("x_masked_rec.npy", &|k, m| 0.5 + 0.5 * (0.1 * k as f64 + 0.7 * m as f64).cos());
    }
}

#[test]
fn equals_scipy() {
    agree("scipy_hann_1024_256", 1024, 256, Window::Hann, true);
    agree("scipy_hann_4096_2048", 4096, 2048, Window::Hann, true);
    agree("scipy_hamming_1024_256", 1024, 256, Window::Hamming, true);
    agree("scipy_hann_1023_300", 1023, 300, Window::Hann, true);
}

#[test]
fn equals_librosa() {
    agree("librosa_hann_1024_256", 1024, 256, Window::Hann, false);
    agree("librosa_hann_4096_2048", 4096, 2048, Window::Hann, false);
    agree("librosa_hamming_1024_256", 1024, 256, Window::Hamming, false);
}
