//! [`mix`]: sources through responses to images, noise and their sum.

use demix_signal::Waveform;
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::RoomError;
use crate::convolve::convolve;

/// How sources come together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MixOptions {
    /// Levels of the images relative to each other, in dB, one for each source; the first source keeps its own level.
    /// Without them all sources keep their own.
    pub levels: Option<Vec<f64>>,
    /// Level of the sum of the images over the noise, in dB; no noise where absent.
    pub snr: Option<f64>,
    /// Seed of the noise.
    pub seed: u64,
    /// Whether the end of the mixture is the end of the longest source; otherwise its reverberation ends it.
    pub cut_tail: bool,
}

/// What microphones hear, and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Each source alone at all microphones, shape (microphones, samples).
    pub images: Vec<Waveform>,
    /// White Gaussian noise, independent at every microphone, all of one power.
    pub noise: Option<Waveform>,
    /// The sum of images and noise, rounded once to single precision.
    pub mixture: Waveform,
    /// Factor on each source that gave it its level.
    pub gains: Vec<f64>,
}

/// Mixes one-channel sources through the responses of a room, one of shape (microphones, samples) for each source.
///
/// Shorter sources are followed by silence. Power, for levels and noise, is the mean over all samples and microphones.
///
/// # Errors
/// No source; counts, rates, channels or microphones that differ; levels or noise relative to silence.
pub fn mix(
    sources: &[Waveform],
    responses: &[Array2<f64>],
    options: &MixOptions,
) -> Result<Mixture, RoomError> {
    check(sources, responses, options)?;
    let sample_rate = sources[0].sample_rate;
    let longest = sources.iter().map(Waveform::n_samples).max().unwrap_or(0);
    let tail = responses.iter().map(|response| response.ncols().max(1) - 1).max().unwrap_or(0);
    let n_samples = if options.cut_tail { longest } else { longest + tail };
    let n_microphones = responses[0].nrows();

    let mut images: Vec<Array2<f32>> =
        (0..sources.len()).map(|_| Array2::zeros((n_microphones, n_samples))).collect();
    let rows: Vec<_> = images
        .iter_mut()
        .enumerate()
        .flat_map(|(n, image)| image.rows_mut().into_iter().enumerate().map(move |(m, row)| (n, m, row)))
        .collect();
    rows.into_par_iter().for_each(|(n, m, mut row)| {
        let signal = sources[n].samples.row(0).to_vec();
        let response = responses[n].row(m).to_vec();
        let heard = convolve(&signal, &[&response]).remove(0);
        row.iter_mut().zip(heard).for_each(|(y, x)| *y = x);
    });

    let gains = match &options.levels {
        Some(levels) => gains(&images, levels)?,
        None => vec![1.0; sources.len()],
    };
    for (image, &gain) in images.iter_mut().zip(&gains).filter(|(_, gain)| **gain != 1.0) {
        image.mapv_inplace(|x| (f64::from(x) * gain) as f32);
    }
    let mut sum = Array2::<f64>::zeros((n_microphones, n_samples));
    for image in &images {
        sum.zip_mut_with(image, |sum, x| *sum += f64::from(*x));
    }
    let noise = match options.snr {
        Some(snr) => {
            let power = sum.iter().map(|x| x * x).sum::<f64>() / sum.len() as f64;
            if power == 0.0 {
                let what = "the sum of all sources".into();
                return Err(RoomError::Silent { what, asked: "a level of noise relative to it" });
            }
            let noise = white_noise(sum.dim(), power * 10f64.powf(-snr / 10.0), options.seed);
            sum.zip_mut_with(&noise, |sum, x| *sum += f64::from(*x));
            Some(Waveform::new(noise, sample_rate))
        }
        None => None,
    };
    Ok(Mixture {
        images: images.into_iter().map(|image| Waveform::new(image, sample_rate)).collect(),
        noise,
        mixture: Waveform::new(sum.mapv(|x| x as f32), sample_rate),
        gains,
    })
}

fn check(sources: &[Waveform], responses: &[Array2<f64>], options: &MixOptions) -> Result<(), RoomError> {
    let n = sources.len();
    let count = |what, found, of, expected, remedy| {
        if found == expected { Ok(()) } else { Err(RoomError::Count { what, found, of, expected, remedy }) }
    };
    if n == 0 {
        let remedy = "give at least 1 source";
        return Err(RoomError::Count { what: "sources", found: 0, of: "mixture", expected: 1, remedy });
    }
    count("responses", responses.len(), "sources", n, "give one for each source")?;
    if let Some(levels) = &options.levels {
        count("levels", levels.len(), "sources", n, "give one for each source, the first one included")?;
    }
    let mismatch = |what, i: usize, found, expected, remedy| {
        Err(RoomError::Mismatch { what, number: i + 1, found, expected, remedy })
    };
    for (i, source) in sources.iter().enumerate() {
        let (rate, first) = (source.sample_rate, sources[0].sample_rate);
        if rate != first {
            return mismatch(
                "source",
                i,
                format!("{rate} Hz"),
                format!("{first} Hz"),
                "resample one of them",
            );
        }
        if source.n_channels() != 1 {
            let found = format!("{} channels", source.n_channels());
            return mismatch("source", i, found, "1 as every source in a room".into(), "choose one of them");
        }
    }
    for (i, response) in responses.iter().enumerate() {
        let (rows, first) = (response.nrows(), responses[0].nrows());
        if rows != first {
            let (found, expected) = (format!("{rows} microphones"), format!("{first}"));
            return mismatch("response", i, found, expected, "take responses of one array");
        }
    }
    Ok(())
}

fn power(image: &Array2<f32>) -> f64 {
    image.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / image.len() as f64
}

/// Factors that bring the images to their levels; the first image keeps its own.
fn gains(images: &[Array2<f32>], levels: &[f64]) -> Result<Vec<f64>, RoomError> {
    let first = power(&images[0]);
    images
        .iter()
        .zip(levels)
        .enumerate()
        .map(|(n, (image, level))| {
            let power = power(image);
            if power == 0.0 {
                let what = format!("source {}", n + 1);
                return Err(RoomError::Silent { what, asked: "a level relative to other sources" });
            }
            // exactly 1 for the first, whatever the rounding of its power
            Ok(if n == 0 { 1.0 } else { 10f64.powf((level - levels[0]) / 20.0) * (first / power).sqrt() })
        })
        .collect()
}

/// Gaussian noise of shape (microphones, samples), scaled to exactly this mean power over all of it.
fn white_noise((n_microphones, n_samples): (usize, usize), power: f64, seed: u64) -> Array2<f32> {
    let mut noise = Array2::<f64>::zeros((n_microphones, n_samples));
    for (m, mut row) in noise.rows_mut().into_iter().enumerate() {
        // a stream for each microphone: one more does not change the others
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(m as u64);
        let mut uniform = || (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        for x in &mut row {
            // Box and Muller; 1 - u lies in (0, 1], where the logarithm is finite
            let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
            *x = radius * (std::f64::consts::TAU * uniform()).cos();
        }
    }
    let drawn = noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64;
    let scale = (power / drawn).sqrt();
    noise.mapv(|x| (x * scale) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn tone(step: f32, n: usize) -> Waveform {
        Waveform::mono((0..n).map(|t| 0.5 * (t as f32 * step).sin()).collect(), 8000)
    }

    fn db(a: f64, b: f64) -> f64 {
        10.0 * (a / b).log10()
    }

    #[test]
    fn images_and_noise_sum_to_the_mixture() {
        let sources = [tone(0.3, 500), tone(0.7, 400)];
        let responses = [array![[1.0, 0.5, 0.0], [0.0, 0.8, 0.3]], array![[0.2, 0.1, 0.4], [0.9, 0.0, 0.1]]];
        let options = MixOptions { snr: Some(20.0), levels: Some(vec![0.0, -6.0]), seed: 3, cut_tail: false };
        let scene = mix(&sources, &responses, &options).unwrap();
        assert_eq!(scene.mixture.samples.dim(), (2, 502));
        let noise = scene.noise.unwrap();
        let mut sum = noise.samples.mapv(f64::from);
        scene.images.iter().for_each(|image| sum += &image.samples.mapv(f64::from));
        assert_eq!(sum.mapv(|x| x as f32), scene.mixture.samples);
        // the shorter one is followed by its reverberation, and silence
        assert!(scene.images[1].samples.row(0).iter().skip(402).all(|x| x.abs() < 1e-7));
        // levels and noise are what was asked for
        assert_eq!(scene.gains[0], 1.0);
        assert!((db(power(&scene.images[1].samples), power(&scene.images[0].samples)) + 6.0).abs() < 1e-4);
        let signal = (&scene.images[0].samples + &scene.images[1].samples).mapv(f64::from);
        let ratio =
            db(signal.iter().map(|x| x * x).sum(), noise.samples.iter().map(|x| f64::from(*x).powi(2)).sum());
        assert!((ratio - 20.0).abs() < 1e-4, "{ratio}");
        // the image by hand
        let x = &sources[0].samples;
        let want = x[[0, 7]] + 0.5 * x[[0, 6]];
        assert!((scene.images[0].samples[[0, 7]] - want).abs() < 1e-6);
    }

    #[test]
    fn noise_repeats_is_white_and_independent() {
        let noise = white_noise((2, 20_000), 0.25, 1);
        assert_eq!(noise, white_noise((2, 20_000), 0.25, 1));
        assert_ne!(noise, white_noise((2, 20_000), 0.25, 2));
        // more microphones leave the others' noise as it was, but for the scale
        let three = white_noise((3, 20_000), 0.25, 1);
        let ratio = three[[0, 0]] / noise[[0, 0]];
        assert!((three[[1, 5]] / noise[[1, 5]] / ratio - 1.0).abs() < 1e-5);
        let correlation = |a: usize, b: usize, lag: usize| {
            (0..19_000).map(|t| f64::from(noise[[a, t]] * noise[[b, t + lag]])).sum::<f64>() / 19_000.0 / 0.25
        };
        // five standard deviations of a correlation of 19000 samples
        for found in [correlation(0, 1, 0), correlation(0, 0, 1), correlation(0, 0, 2), correlation(0, 1, 1)]
        {
            assert!(found.abs() < 5.0 / 19_000f64.sqrt(), "{found}");
        }
        let kurtosis = noise.iter().map(|x| f64::from(*x).powi(4)).sum::<f64>() / 40_000.0 / 0.0625;
        assert!((kurtosis - 3.0).abs() < 0.15, "{kurtosis}");
    }

    #[test]
    fn the_tail_is_cut_on_request() {
        let response = [array![[1.0, 0.5, 0.25]]];
        let options = MixOptions { cut_tail: true, ..MixOptions::default() };
        let cut = mix(&[tone(0.3, 100)], &response, &options).unwrap().mixture;
        let whole = mix(&[tone(0.3, 100)], &response, &MixOptions::default()).unwrap().mixture;
        assert_eq!((cut.n_samples(), whole.n_samples()), (100, 102));
        assert!(cut.samples.iter().zip(&whole.samples).all(|(a, b)| (a - b).abs() < 1e-7));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let response = array![[1.0], [0.5]];
        let refuse = |sources: &[Waveform], responses: &[Array2<f64>], options: &MixOptions| {
            mix(sources, responses, options).unwrap_err().to_string()
        };
        let plain = MixOptions::default();
        assert!(refuse(&[], &[], &plain).starts_with("0 sources"));
        let one = [tone(0.1, 10)];
        assert!(refuse(&one, &[], &plain).starts_with("0 responses for 1 sources"));
        let other = Waveform { sample_rate: 16000, ..tone(0.1, 10) };
        let text = refuse(&[one[0].clone(), other], &[response.clone(), response.clone()], &plain);
        assert!(text.starts_with("source 2 has 16000 Hz, number 1 has 8000 Hz"), "{text}");
        let text = refuse(&[one[0].clone(), one[0].clone()], &[response.clone(), array![[1.0]]], &plain);
        assert!(text.starts_with("response 2 has 1 microphones, number 1 has 2"), "{text}");
        let silent = [Waveform::mono(vec![0.0; 10], 8000)];
        let text = refuse(
            &silent,
            std::slice::from_ref(&response),
            &MixOptions { snr: Some(10.0), ..plain.clone() },
        );
        assert!(text.contains("silent"), "{text}");
        let levels = MixOptions { levels: Some(vec![1.0, 2.0]), ..plain };
        assert!(refuse(&one, &[response], &levels).starts_with("2 levels for 1 sources"));
    }
}
