//! One mixture by one method: sound, scores, and what the paper looks at inside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use demix_eval::{BandSettings, BssEval, FILTER_LENGTH, Order, band_snr};
use demix_signal::settings::Settings as _;
use demix_signal::{Complex, Stft, StftSettings, Watch, Waveform};
use demix_spatial::source::{PowerEstimate, PowerEstimator, Product};
use demix_spatial::{C64, Guided, GuidedSettings, Input, Known, LookSettings, MatrixSettings, Start, Way};
use ndarray::{Array2, Array3, ArrayView2, s};
use serde::{Deserialize, Deserializer, Serialize};

use super::rows::{DRAWN_ETA, NU_OF_T_IDLMA, Row, Training};
use super::scene::Scene;
use crate::method::{Method, Request};
use crate::pipeline::PipelineError;
use crate::separation::SeparationError;
use crate::spatial::SourceNetwork;
use crate::spatial::guided::{Family, PartSettings, plan};
use crate::spatial::trials::Trials;

/// What one run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Seed of the run.
    pub seed: u64,
    /// SDR of each source in dB, BSS Eval version 3, against the images at the first microphone.
    #[serde(deserialize_with = "numbers")]
    pub sdr: Vec<f64>,
    /// Improvement over the mixture.
    #[serde(deserialize_with = "numbers")]
    pub improvement: Vec<f64>,
    /// The final cost for each source, bin and frame, in nats; absent for masks.
    pub cost: Option<f64>,
    /// How much of the outputs the networks recognise, 1 for all of it; absent without networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<f64>,
    /// Seconds of the separation.
    pub seconds: f64,
    /// Iterations at which the following was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iterations: Vec<usize>,
    /// Sums over all slots and sources, at level 1: T V, its weighted part, the networks' weighted part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energies: Vec<[f64; 3]>,
    /// Band-wise signal-to-noise ratios in dB, the mean over sources; NaN above half the rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "rows_of_numbers")]
    pub bands: Vec<Vec<f64>>,
}

/// NaN is null in JSON.
pub fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let read = Vec::<Option<f64>>::deserialize(from)?;
    Ok(read.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
}

fn rows_of_numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f64>>, D::Error> {
    let read = Vec::<Vec<Option<f64>>>::deserialize(from)?;
    Ok(read.into_iter().map(|row| row.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect()).collect())
}

/// The networks of every kind, by source.
pub type Networks = BTreeMap<Training, BTreeMap<String, SourceNetwork>>;

/// Everything that runs share.
pub struct Laboratory {
    /// Trained networks.
    pub networks: Networks,
    /// Their transform, which ILRMA and the true variance use, too.
    pub stft: StftSettings,
    /// Their rate in Hz.
    pub sample_rate: u32,
    /// Components of each source.
    pub components: usize,
}

/// epsilon_1 of all rows, as a share of the estimate's mean power.
const FLOOR: f64 = 1e-2;

/// Knows the source.
struct Truth(Array2<f32>);

impl PowerEstimator for Truth {
    fn estimate(&self, _: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
        Ok(PowerEstimate::from(self.0.clone()))
    }
}

/// The method that runs a row as it is; none where the loop is looked at while it runs.
fn method_of(row: Row) -> Option<&'static str> {
    match row {
        Row::Ilrma | Row::IlrmaOfDemix => Some("ilrma"),
        Row::DnnWf => Some("dnn-wf"),
        Row::FscmDnn => Some("fscm-dnn"),
        Row::IdlmaOfDemix => Some("idlma"),
        Row::GPopOfDemix => Some("g-pop-idlma"),
        Row::TPopOfDemix => Some("t-pop-idlma"),
        _ => None,
    }
}

impl Laboratory {
    /// Separates a scene and judges the result.
    ///
    /// # Errors
    /// Cancelling; a method that fails.
    pub fn run(
        &self,
        scene: &Scene,
        names: &[&str],
        row: Row,
        seed: u64,
        watch: &mut dyn Watch,
    ) -> Result<Score, PipelineError> {
        let clock = Instant::now();
        let wrong = |e: SeparationError| {
            if e.is_cancelled() {
                PipelineError::Cancelled
            } else {
                PipelineError::Request(format!("{}, seed {seed}: {e}", row.key()))
            }
        };
        let mut looks = Looks::default();
        let (estimates, (cost, explained), order) = match method_of(row) {
            Some(method) => {
                let request = self.request(names, row, seed);
                let separator =
                    Method::named(method).and_then(|method| method.build(&request)).map_err(wrong)?;
                let found = separator.separate(&scene.mixture, watch).map_err(wrong)?;
                let first =
                    |sound: &Waveform| Waveform::mono(sound.samples.row(0).to_vec(), sound.sample_rate);
                let estimates: Vec<Waveform> =
                    found.sources.iter().map(|source| first(&source.image)).collect();
                let blind = matches!(row, Row::Ilrma | Row::IlrmaOfDemix);
                (estimates, (None, None), if blind { Order::Best } else { Order::Fixed })
            }
            None => {
                let (guided, stft) = match row {
                    Row::TrueVariance | Row::TrueVarianceGPop => self.truth(scene, row, seed),
                    _ => self.guided(names, row, seed),
                }
                .map_err(wrong)?;
                let draws = seed == 0 && matches!(row, Row::Idlma | Row::GPop(_));
                let bands = seed == 0 && (row == Row::Idlma || row == Row::GPop(DRAWN_ETA));
                let (estimates, cost, explained) =
                    run_guided(&guided, &stft, scene, draws.then_some(&mut looks), bands, watch)
                        .map_err(wrong)?;
                (estimates, (Some(cost), Some(explained)), Order::Fixed)
            }
        };
        let seconds = clock.elapsed().as_secs_f64();
        let scores = BssEval::new(&scene.references, &estimates, FILTER_LENGTH)?.sources(&order)?;
        Ok(Score {
            seed,
            improvement: scores.improvement(&scene.unprocessed).sdr,
            sdr: scores.sdr,
            cost,
            explained,
            seconds,
            iterations: looks.iterations,
            energies: looks.energies,
            bands: looks.bands,
        })
    }

    fn models(&self, kind: Training, names: &[&str]) -> Vec<SourceNetwork> {
        let of_kind = self.networks.get(&kind);
        names.iter().filter_map(|name| of_kind?.get(*name).cloned()).collect()
    }

    fn request(&self, names: &[&str], row: Row, seed: u64) -> Request {
        let mut settings = Vec::new();
        if row == Row::Ilrma {
            let own = self.stft.values();
            let text = |name: &str| own.get(name).map(|v| v.to_string().trim_matches('"').to_string());
            for name in ["fft", "window_length", "hop", "window", "padding"] {
                settings.extend(text(name).map(|value| (name.to_string(), value)));
            }
            for (name, value) in
                [("start", "identity"), ("iterations", "100"), ("tolerance", "0"), ("fit_iterations", "0")]
            {
                settings.push((name.into(), value.into()));
            }
            settings.push(("components".into(), self.components.to_string()));
        }
        Request {
            settings,
            n_sources: Some(names.len()),
            n_channels: Some(names.len()),
            seed: (!matches!(row, Row::DnnWf | Row::FscmDnn)).then_some(seed),
            models: row.needs().map_or_else(Vec::new, |kind| self.models(kind, names)),
            ..Request::default()
        }
    }

    /// Puts a row together without running it.
    ///
    /// # Errors
    /// Settings that do not fit.
    pub fn check(&self, names: &[&str], row: Row) -> Result<(), PipelineError> {
        let put_together = match method_of(row) {
            Some(method) => Method::named(method)
                .and_then(|method| method.build(&self.request(names, row, 0)))
                .map(|_| ()),
            // made of the transform alone
            None if matches!(row, Row::TrueVariance | Row::TrueVarianceGPop) => Ok(()),
            None => self.guided(names, row, 0).map(|_| ()),
        };
        put_together.map_err(|why| PipelineError::WrongUse(format!("{}: {why}", row.key())))
    }

    /// The loop's settings for a row, and those of its low-rank parts: the paper's transform, start and floor.
    fn loop_of(&self, row: Row, seed: u64) -> (GuidedSettings, PartSettings) {
        let matrices = MatrixSettings { seed, ..MatrixSettings::default() };
        let (start, variance_floor) = (Some(Start::Identity), Some(FLOOR));
        let rescale_model = !matches!(row, Row::GPopAsPrinted(_));
        let looks = LookSettings { start, variance_floor, rescale_model, ..LookSettings::default() };
        let settings = GuidedSettings { looks, matrices };
        let (components, hop) = (Some(self.components), self.stft.hop);
        (settings, PartSettings { components, hop, ..PartSettings::default() })
    }

    /// The loop of a guided row, and its transform.
    fn guided(&self, names: &[&str], row: Row, seed: u64) -> Result<(Guided, StftSettings), SeparationError> {
        let (settings, part) = self.loop_of(row, seed);
        let family = match row {
            Row::TIdlma => Family::TIdlma(Some(NU_OF_T_IDLMA)),
            Row::EbIdlma => Family::EbIdlma,
            Row::TPop(nu) => Family::TPop(Some(nu), nu),
            Row::GPop(eta) | Row::GPopAsPrinted(eta) => Family::GPop(Some(eta)),
            Row::GPopOfLikelihood => Family::GPop(Some(DRAWN_ETA)),
            _ => Family::Idlma,
        };
        let request = self.request(names, row, seed);
        let plan = plan(&request, family, settings, &part, Trials::None)?;
        Ok((plan.guided, plan.stft))
    }

    /// The loop whose networks are the truth.
    fn truth(&self, scene: &Scene, row: Row, seed: u64) -> Result<(Guided, StftSettings), SeparationError> {
        let stft = Stft::<f32>::new(&self.stft)?;
        // the loop works at level 1
        let x = stft.forward_samples(&scene.mixture.samples)?;
        let level = x.iter().map(|x| f64::from(x.norm_sqr())).sum::<f64>() / x.len() as f64;
        let mut sources = Vec::new();
        for reference in &scene.references {
            let s = stft.forward_samples(&reference.samples)?;
            let power = s.slice(s![.., 0, ..]).mapv(|s| (f64::from(s.norm_sqr()) / level) as f32);
            let components = if row == Row::TrueVarianceGPop { self.components } else { 0 };
            let truth: Arc<dyn PowerEstimator> = Arc::new(Truth(power));
            sources.push(Known { networks: vec![truth], dictionary: None, components });
        }
        let eta = if row == Row::TrueVarianceGPop { 1e-2 } else { 0.0 };
        let ways = vec![Way { start: Start::Identity, product: Product::Gauss { eta } }];
        Ok((Guided { sources, ways, settings: self.loop_of(row, seed).0 }, self.stft.clone()))
    }
}

/// What was looked at while the loop ran.
#[derive(Default)]
struct Looks {
    iterations: Vec<usize>,
    energies: Vec<[f64; 3]>,
    bands: Vec<Vec<f64>>,
}

/// Runs the loop; gives each source at the first microphone, the final cost of a slot, and how much of the outputs the
/// networks recognise.
fn run_guided(
    guided: &Guided,
    settings: &StftSettings,
    scene: &Scene,
    mut looks: Option<&mut Looks>,
    bands: bool,
    watch: &mut dyn Watch,
) -> Result<(Vec<Waveform>, f64, f64), SeparationError> {
    let stft = Stft::<f32>::new(settings)?;
    let x = stft.forward_samples(&scene.mixture.samples)?;
    let n_samples = scene.mixture.n_samples();
    let rate = scene.mixture.sample_rate;
    let input = Input { x: x.view(), stft: settings, n_samples, sample_rate: rate, begin: None };
    let mut trouble = None;
    let found = guided.demix::<f32>(&input, watch, &mut |moment| {
        let Some(looks) = looks.as_deref_mut() else { return };
        looks.iterations.push(moment.iterations);
        let sum = |part: fn(&demix_spatial::source::Energies) -> f64| moment.energies.iter().map(part).sum();
        looks.energies.push([sum(|e| e.low_rank), sum(|e| e.weighted_low_rank), sum(|e| e.weighted_network)]);
        if bands {
            match band_means(&x, &(moment.matrices)(), &stft, scene) {
                Ok(means) => looks.bands.push(means),
                Err(error) => trouble = Some(error),
            }
        }
    })?;
    if let Some(error) = trouble {
        return Err(error);
    }
    let slots = (x.len() / x.dim().1 * guided.sources.len()) as f64;
    let cost = found.descent.cost.last().copied().unwrap_or(f64::NAN) / slots;
    let explained = found.trials.iter().find(|trial| trial.kept).map_or(f64::NAN, |trial| trial.explained);
    Ok((at_first_microphone(&x, &(found.demixing, found.mixing), &stft, scene), cost, explained))
}

/// FBW-SNR of the estimates that W gives, the mean over sources, for each band.
fn band_means(
    x: &Array3<Complex<f32>>,
    matrices: &(Array3<C64>, Array3<C64>),
    stft: &Stft<f32>,
    scene: &Scene,
) -> Result<Vec<f64>, SeparationError> {
    let estimates = at_first_microphone(x, matrices, stft, scene);
    let settings = BandSettings { order: Order::Fixed, ..BandSettings::default() };
    let scores = band_snr(&scene.references, &estimates, &settings)
        .map_err(|e| SeparationError::Request(e.to_string()))?;
    Ok(scores.snr.columns().into_iter().map(|band| band.mean().unwrap_or(f64::NAN)).collect())
}

/// Projects back on the first microphone and transforms.
fn at_first_microphone(
    x: &Array3<Complex<f32>>,
    matrices: &(Array3<C64>, Array3<C64>),
    stft: &Stft<f32>,
    scene: &Scene,
) -> Vec<Waveform> {
    let (n_bins, m, n_frames) = x.dim();
    let (demixing, mixing) = matrices;
    (0..demixing.dim().1)
        .map(|n| {
            let rows = Array2::from_shape_fn((n_bins, m), |(bin, c)| {
                let w = mixing[[bin, 0, n]] * demixing[[bin, n, c]];
                Complex::new(w.re as f32, w.im as f32)
            });
            let sound = stft.inverse_blocks(n_frames, scene.mixture.n_samples(), |frames, out| {
                for (at, frame) in frames.enumerate() {
                    for bin in 0..n_bins {
                        out[at * n_bins + bin] = (0..m).map(|c| rows[[bin, c]] * x[[bin, c, frame]]).sum();
                    }
                }
            });
            Waveform::mono(sound.to_vec(), scene.mixture.sample_rate)
        })
        .collect()
}
