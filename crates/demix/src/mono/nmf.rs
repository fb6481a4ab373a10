//! Separation by non-negative matrix factorisation: transform, factorise, mask, transform back.
//!
//! Without dictionaries the components are learned and grouped; with a dictionary for every source only their
//! activations are (supervised); with dictionaries and free sources, these sources' components are learned beside
//! the held ones (semi-supervised).

use std::time::Instant;

use demix_nmf::grouping::{members, select_columns};
use demix_nmf::{Factorization, Grouping, Nmf, NmfSettings, Scalar, group};
use demix_signal::settings::Settings as _;
use demix_signal::{Complex, Progress, Spectrogram, Stft, StftSettings, Watch, Waveform};
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

use crate::dictionary::{Dictionary, floor, transform};
use crate::separation::{
    Factors, Outcome, Seconds, SeparationError, Separator, Source, SourceSink, check_mixture, numbered,
};

demix_signal::choices! {
    /// How sound is made of the factors.
    pub enum Synthesis {
        /// A share of the mixture: masks (W_s H_s)^p / sum (W_s H_s)^p; the sources add up to the mixture.
        Mask = "mask",
        /// W_s H_s itself with the mixture's phase; the sources do not add up to the mixture.
        Direct = "direct",
    }
}

demix_signal::choices! {
    /// The numbers that the factorisation computes with.
    pub enum Precision {
        /// Single where its range is known to serve, else double: of nmf with beta below -0.5 or above 3.
        Auto = "auto",
        /// 32 bit.
        Single = "single",
        /// 64 bit: about half as fast.
        Double = "double",
    }
}

demix_signal::settings! {
    /// From spectrogram to factors to sound.
    pub struct NmfSoundSettings {
        /// q of the factorised spectrogram |X|^q: 1 for magnitudes, 2 for powers.
        pub spectrum_exponent: f64 = 1.0, range 0.1 ..= 4.0;
        /// p of the masks (W_s H_s)^p / sum (W_s H_s)^p; auto: 2 / q, the Wiener filter. The lecture's is 1.
        pub mask_exponent: Option<f64> = None, range 0.05 ..= 50.0;
        /// How sound is made of the factors.
        pub synthesis: Synthesis = Synthesis::Mask;
        /// How learned components are gathered into sources.
        pub grouping: Grouping = Grouping::Character;
        /// The numbers that the factorisation computes with.
        pub precision: Precision = Precision::Auto;
    }
}

demix_signal::settings_group! {
    /// All settings of the method `nmf`.
    pub struct NmfMethodSettings {
        /// The factorisation; `components` counts those of each source.
        pub nmf: NmfSettings,
        /// Spectrogram, masks and grouping.
        pub sound: NmfSoundSettings,
        /// The transform.
        pub stft: StftSettings,
    }
}

/// The method `nmf`.
#[derive(Clone, Debug)]
pub struct NmfSeparator {
    settings: NmfMethodSettings,
    n_sources: usize,
    dictionaries: Vec<Dictionary>,
    free: Vec<(String, usize)>,
}

impl NmfSeparator {
    /// Unsupervised: `settings.nmf.components` for each of `n_sources`, learned together and grouped.
    /// With `grouping=none` every component is a source and `n_sources` has no effect.
    ///
    /// # Errors
    /// Settings out of range; no source.
    pub fn new(settings: NmfMethodSettings, n_sources: usize) -> Result<Self, SeparationError> {
        settings.check()?;
        if n_sources == 0 {
            return Err(SeparationError::Request("0 sources are asked for: ask for at least 1".into()));
        }
        Ok(Self { settings, n_sources, dictionaries: Vec::new(), free: Vec::new() })
    }

    /// Supervised by dictionaries, semi-supervised when there are `free` sources (name, components) as well.
    /// Transform and exponent are the dictionaries'.
    ///
    /// # Errors
    /// Dictionaries of different rates or transforms; fewer than two sources; two sources of one name.
    pub fn with_dictionaries(
        mut settings: NmfMethodSettings,
        dictionaries: Vec<Dictionary>,
        free: Vec<(String, usize)>,
    ) -> Result<Self, SeparationError> {
        settings.check()?;
        let request = |problem: String| Err(SeparationError::Request(problem));
        let Some(first) = dictionaries.first() else {
            return request("no dictionary is given".into());
        };
        for other in &dictionaries[1..] {
            other.check_rate(first.sample_rate)?;
            if (&other.stft, other.exponent) != (&first.stft, first.exponent) {
                return request(format!(
                    "dictionary '{}' has {}, '{}' has {}: learn them with the same settings",
                    first.name,
                    transform_of(first),
                    other.name,
                    transform_of(other)
                ));
            }
        }
        let names: Vec<&str> =
            dictionaries.iter().map(|d| &d.name).chain(free.iter().map(|f| &f.0)).map(|n| &**n).collect();
        if let Some(twice) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name)) {
            return request(format!("two sources are named '{}': give them different names", twice.1));
        }
        if names.len() < 2 {
            return request(format!(
                "'{}' is the only source: add a dictionary, or --free NAME=K for what else sounds",
                names[0]
            ));
        }
        if let Some((name, _)) = free.iter().find(|(_, k)| *k == 0) {
            return request(format!("the free source '{name}' has 0 components: give it at least 1"));
        }
        settings.stft = first.stft.clone();
        settings.sound.spectrum_exponent = first.exponent;
        let n_sources = names.len();
        Ok(Self { settings, n_sources, dictionaries, free })
    }

    /// Whether every learned component is a source of its own.
    fn ungrouped(&self) -> bool {
        self.settings.sound.grouping == Grouping::None && self.dictionaries.is_empty()
    }

    fn n_sources(&self) -> usize {
        if self.ungrouped() { self.settings.nmf.components } else { self.n_sources }
    }

    /// Factors and the source of each component.
    fn factorize<T: Scalar>(
        &self,
        v: ArrayView2<'_, T>,
        sample_rate: u32,
        watch: &mut dyn Watch,
    ) -> Result<(Factorization<f32>, Vec<usize>), SeparationError> {
        let sound = &self.settings.sound;
        let mut settings = self.settings.nmf.clone();
        settings.floor = floor(&settings, sound.spectrum_exponent);
        if self.dictionaries.is_empty() {
            if !self.ungrouped() {
                settings.components = settings.components.saturating_mul(self.n_sources);
            }
            let found = Nmf::new(settings)?.factorize(v, watch)?;
            let double = |x: &Array2<T>| x.mapv(|x| x.to_double());
            let source_of = group(
                double(&found.dictionary).view(),
                double(&found.activations).view(),
                sample_rate,
                self.n_sources.min(found.dictionary.ncols()),
                sound.grouping,
            )?;
            return Ok((to_single(found), source_of));
        }
        let held: Vec<ArrayView2<'_, f32>> = self.dictionaries.iter().map(|d| d.components.view()).collect();
        let held = concatenate(Axis(1), &held).expect("the transforms agree").mapv(|w| T::of(f64::from(w)));
        let n_free = self.free.iter().map(|f| f.1).sum();
        let found = Nmf::new(settings)?.factorize_with_dictionary(v, held.view(), n_free, watch)?;
        let sizes =
            self.dictionaries.iter().map(|d| d.components.ncols()).chain(self.free.iter().map(|f| f.1));
        let source_of = sizes.enumerate().flat_map(|(source, k)| std::iter::repeat_n(source, k)).collect();
        Ok((to_single(found), source_of))
    }

    fn use_double(&self) -> bool {
        match self.settings.sound.precision {
            Precision::Single => false,
            Precision::Double => true,
            Precision::Auto => !(-0.5..=3.0).contains(&self.settings.nmf.beta),
        }
    }
}

impl Separator for NmfSeparator {
    fn source_names(&self) -> Vec<String> {
        if self.dictionaries.is_empty() {
            let what = if self.ungrouped() { "component" } else { "source" };
            return numbered(what, self.n_sources()).collect();
        }
        self.dictionaries
            .iter()
            .map(|d| d.name.clone())
            .chain(self.free.iter().map(|f| f.0.clone()))
            .collect()
    }

    fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        self.settings.values()
    }

    fn separate_into(
        &self,
        mixture: &Waveform,
        watch: &mut dyn Watch,
        sink: &mut SourceSink<'_>,
    ) -> Result<Outcome, SeparationError> {
        check_mixture(mixture)?;
        self.dictionaries.first().map_or(Ok(()), |d| d.check_rate(mixture.sample_rate))?;
        let sound = &self.settings.sound;
        let mut seconds = Seconds::default();
        let clock = Instant::now();
        let settings = self.settings.stft.for_rate(mixture.sample_rate);
        let stft = transform(&settings, self.settings.nmf.simd)?;
        let mut warnings: Vec<String> = stft.warning().into_iter().collect();
        let transformed = |done| Progress { stage: "stft", done, total: 1, cost: None };
        watch.progress(transformed(0))?;
        let x = stft.forward(mixture)?;
        let v = x.mean_magnitude(sound.spectrum_exponent);
        watch.progress(transformed(1))?;
        seconds.stft = clock.elapsed().as_secs_f64();

        let clock = Instant::now();
        let (found, source_of) = if self.use_double() {
            self.factorize(v.mapv(f64::from).view(), mixture.sample_rate, watch)?
        } else {
            self.factorize(v.view(), mixture.sample_rate, watch)?
        };
        drop(v);
        seconds.separate = clock.elapsed().as_secs_f64();
        self.explain(mixture, &found, &mut warnings);

        let n_sources = self.n_sources();
        let factors = Factors {
            factorization: found,
            source_of,
            exponent: sound.spectrum_exponent,
            mask_exponent: sound.mask_exponent.unwrap_or(2.0 / sound.spectrum_exponent),
        };
        let synthesizer =
            Synthesizer { stft: &stft, x: &x, factors: &factors, synthesis: sound.synthesis, n_sources };
        for (source, name) in self.source_names().into_iter().enumerate() {
            let clock = Instant::now();
            let image = synthesizer.image(source, mixture);
            // without the sink, whose time is its own
            seconds.synthesis += clock.elapsed().as_secs_f64();
            sink(Source { name, image }).map_err(SeparationError::Sink)?;
            watch.progress(Progress {
                stage: "synthesis",
                done: source + 1,
                total: n_sources,
                cost: None,
            })?;
        }
        Ok(Outcome {
            cost: factors.factorization.cost.clone(),
            iterations: factors.factorization.iterations,
            stopped: factors.factorization.stopped.name(),
            sums_to_mixture: sound.synthesis == Synthesis::Mask,
            stft: settings,
            warnings,
            seconds,
            factors: Some(factors),
            filters: Vec::new(),
            details: serde_json::Map::new(),
        })
    }
}

impl NmfSeparator {
    /// What a user should know about this run.
    fn explain(&self, mixture: &Waveform, found: &Factorization<f32>, warnings: &mut Vec<String>) {
        let (components, frames) = found.activations.dim();
        if mixture.peak() == 0.0 {
            warnings.push("the input is silent: every source is silent, too".into());
        }
        for (channel, samples) in mixture.samples.outer_iter().enumerate() {
            if mixture.n_channels() > 1 && mixture.peak() > 0.0 && samples.iter().all(|&x| x == 0.0) {
                warnings.push(format!("channel {} is silent", channel + 1));
            }
        }
        if components > frames {
            warnings.push(format!(
                "there are {components} components for {frames} frames: each frame can have its own, so the \
                 parts mean little; lower components or shorten hop"
            ));
        }
        if self.settings.sound.synthesis == Synthesis::Direct {
            warnings.push("synthesis=direct: the sources do not add up to the input".into());
        }
        if found.iterations == 0 && self.settings.nmf.iterations == 0 {
            warnings.push("iterations=0: the sources are made of the random start".into());
        }
    }
}

fn transform_of(dictionary: &Dictionary) -> String {
    let values: Vec<String> = dictionary.stft.values().iter().map(|(k, v)| format!("{k}={v}")).collect();
    format!("{} spectrum_exponent={}", values.join(" "), dictionary.exponent).replace('"', "")
}

fn to_single<T: Scalar>(found: Factorization<T>) -> Factorization<f32> {
    let single = |x: Array2<T>| x.mapv(|x| x.to_double() as f32);
    Factorization {
        dictionary: single(found.dictionary),
        activations: single(found.activations),
        start_dictionary: single(found.start_dictionary),
        start_activations: single(found.start_activations),
        cost: found.cost,
        iterations: found.iterations,
        stopped: found.stopped,
    }
}

/// From factors to sound, one source at a time.
struct Synthesizer<'a> {
    stft: &'a Stft<f32>,
    x: &'a Spectrogram<f32>,
    factors: &'a Factors,
    synthesis: Synthesis,
    n_sources: usize,
}

impl Synthesizer<'_> {
    fn image(&self, source: usize, mixture: &Waveform) -> Waveform {
        let mut samples = Array2::zeros(mixture.samples.dim());
        for (channel, mut row) in samples.outer_iter_mut().enumerate() {
            let x = self.x.channel(channel);
            let n_bins = self.x.n_bins();
            let signal = self.stft.inverse_blocks(self.x.n_frames(), mixture.n_samples(), |frames, out| {
                let gains = match self.synthesis {
                    Synthesis::Mask => self.factors.mask(source, self.n_sources, frames.clone()),
                    Synthesis::Direct => self.direct_gain(source, frames.clone()),
                };
                for ((bin, x), gains) in
                    x.slice(s![.., frames]).outer_iter().enumerate().zip(gains.outer_iter())
                {
                    for (frame, (&x, &gain)) in x.iter().zip(&gains).enumerate() {
                        out[frame * n_bins + bin] = Complex::new(x.re * gain, x.im * gain);
                    }
                }
            });
            row.assign(&ndarray::ArrayView1::from(&signal));
        }
        Waveform::new(samples, mixture.sample_rate)
    }

    /// (W_s H_s)^(1/q) over the mixture's magnitude (the mean over channels), so that gain times X has the model's
    /// magnitude and the mixture's phase and panning.
    fn direct_gain(&self, source: usize, frames: std::ops::Range<usize>) -> Array2<f32> {
        let mut gain = self.factors.model(source, frames.clone());
        let x = self.x.data.slice(s![.., .., frames]);
        let n_channels = x.len_of(Axis(1)) as f32;
        let root = (1.0 / self.factors.exponent) as f32;
        for ((bin, frame), gain) in gain.indexed_iter_mut() {
            let power: f32 = x.slice(s![bin, .., frame]).iter().map(|x| x.norm_sqr()).sum();
            let magnitude = (power / n_channels).sqrt();
            *gain = if magnitude > 0.0 { gain.powf(root) / magnitude } else { 0.0 };
        }
        gain
    }
}

impl Factors {
    /// W_s H_s of one source, (bins, frames).
    pub fn model(&self, source: usize, frames: std::ops::Range<usize>) -> Array2<f32> {
        let k = members(&self.source_of, source);
        let w = select_columns(self.factorization.dictionary.view(), &k);
        let h = self.factorization.activations.slice(s![.., frames]);
        w.dot(&h.select(Axis(0), &k))
    }

    /// The mask of one source, (bins, frames): masks of all sources sum to one; where no source has any level each
    /// takes an equal share.
    pub fn mask(&self, source: usize, n_sources: usize, frames: std::ops::Range<usize>) -> Array2<f32> {
        let raise = |model: Array2<f32>| match self.mask_exponent {
            1.0 => model,
            2.0 => model.mapv(|x| x * x),
            p => model.mapv(|x| x.powf(p as f32)),
        };
        let mut sum: Option<Array2<f32>> = None;
        let mut own = None;
        // levels far from one would leave the range of single precision when raised
        let level = self.factorization.activations.iter().fold(0.0f32, |m, &h| m.max(h));
        let scale = if level > 0.0 { 1.0 / level } else { 1.0 };
        for other in 0..n_sources {
            let raised = raise(self.model(other, frames.clone()).mapv(|x| x * scale));
            sum = Some(match sum {
                None => raised.clone(),
                Some(sum) => sum + &raised,
            });
            if other == source {
                own = Some(raised);
            }
        }
        let mut mask = own.expect("the source is one of them");
        let share = 1.0 / n_sources as f32;
        mask.zip_mut_with(&sum.expect("there is a source"), |m, &s| {
            *m = if s >= f32::MIN_POSITIVE { *m / s } else { share };
        });
        mask
    }
}
