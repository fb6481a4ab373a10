//! [`NetworkSettings`] and [`TrainSettings`].

use std::fmt;

use demix_signal::settings::SettingValue;
use serde_json::Value;

demix_signal::choices! {
    /// What the network sees of a frame and its neighbours.
    pub enum InputName {
        /// The logarithm of band means: as the ear hears, fewer weights, trains faster.
        Bands = "bands",
        /// The magnitude of every bin, as in the paper.
        Linear = "linear",
    }
}

demix_signal::choices! {
    /// How the last layer becomes a magnitude.
    pub enum OutputName {
        /// A sigmoid times the magnitude that came in, for the magnitude that is expected of the source: between nothing
        /// and everything.
        Mask = "mask",
        /// A rectifier, as in the paper: any magnitude.
        Relu = "relu",
    }
}

demix_signal::settings! {
    /// The form of a network.
    pub struct NetworkSettings {
        /// Units of every hidden layer. More learn more timbres and cost more time (the paper: 2048).
        pub width: usize = 512, unit "units", range 1.0 ..= 16384.0;
        /// Hidden layers.
        pub hidden: usize = 4, range 1.0 ..= 64.0;
        /// c: frame j is seen with the frames j-2c, j-2c+2, .., j+2c.
        pub context: usize = 3, unit "frames", range 0.0 ..= 64.0;
        /// Share of the hidden units that are silent in a training step, drawn anew in each: against learning by heart.
        pub dropout: f64 = 0.3, range 0.0 ..= 0.95;
        /// What the network sees.
        pub input: InputName = InputName::Bands;
        /// Bands of the input, as wide as their frequency is high, none narrower than a bin (so at most one for
        /// each bin); only for the input `bands`.
        pub bands: usize = 256, range 1.0 ..= 65536.0;
        /// What comes out.
        pub output: OutputName = OutputName::Mask;
        /// The degrees of freedom between which a network of two heads weighs, separated by commas.
        pub anchors: Anchors = Anchors::default();
    }
}

demix_signal::choices! {
    /// Ways along the gradient.
    pub enum OptimizerName {
        /// Steps as long as past steps, over the size of past gradients (Zeiler 2012): the paper's choice.
        Adadelta = "adadelta",
        /// Momentum over the size of past gradients (Kingma and Ba 2015).
        Adam = "adam",
        /// The gradient times the rate.
        Sgd = "sgd",
    }
}

impl OptimizerName {
    /// How many numbers it keeps for each weight.
    pub(crate) fn memories(self) -> usize {
        match self {
            Self::Adadelta | Self::Adam => 2,
            Self::Sgd => 0,
        }
    }
}

demix_signal::choices! {
    /// What training computes on.
    pub enum DeviceName {
        /// The processor.
        Cpu = "cpu",
        /// An NVIDIA device, in programs built for it.
        Cuda = "cuda",
    }
}

demix_signal::settings! {
    /// How a network is trained.
    pub struct TrainSettings {
        /// Frames of a step.
        pub batch: usize = 128, unit "frames", range 1.0 ..= 65536.0;
        /// The way along the gradient.
        pub optimizer: OptimizerName = OptimizerName::Adadelta;
        /// Factor of every step; auto: 1 for adadelta, 0.0003 for adam, 0.0001 for sgd.
        pub rate: Option<f64> = None, range 1e-9 ..= 1000.0;
        /// How much of its memory adadelta keeps from step to step.
        pub rho: f64 = 0.95, range 0.0 ..= 0.999999;
        /// Added to adadelta's squares: how bold its first steps are.
        pub epsilon: f64 = 1e-6, range 1e-12 ..= 1.0;
        /// Largest l2 norm of the gradient of all weights together; longer ones are shortened to it.
        pub clip: f64 = 10.0, range 1e-6 ..= 1e12;
        /// eps2: the power below which a slot counts as silent in the losses that are likelihoods (all but square-root),
        /// relative to the mean power of the frame's neighbourhood. They weigh all slots alike, however soft: with less
        /// of it networks learn silence. The paper's 1e-5 may mean spectra of norm 1, of which it is 0.02.
        pub power_floor: f64 = 0.1, range 1e-12 ..= 1.0;
        /// How much of its memory the running mean of the weights keeps from step to step. The mean is what is judged
        /// and kept: it is better than the weights that are still on their way; 0: the weights themselves.
        pub average: f64 = 0.999, range 0.0 ..= 0.999999;
        /// What it computes on.
        pub device: DeviceName = DeviceName::Cpu;
        /// Of the weights at the start, dropout and all that is drawn: the same seed gives the same network.
        pub seed: u64 = 0;
    }
}

impl TrainSettings {
    /// The names of what is kept for each weight beside itself: the optimiser's memories, then the running mean.
    pub(crate) fn memories(&self) -> Vec<&'static str> {
        let mut names = ["first", "second"][..self.optimizer.memories()].to_vec();
        names.extend((self.average > 0.0).then_some(MEAN));
        names
    }
}

/// Name of the running mean of the weights.
pub(crate) const MEAN: &str = "mean";

/// Degrees of freedom kappa between which the second head weighs (eq. (53)), rising.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchors(Vec<f64>);

impl Anchors {
    /// At most so many: each costs a whole head of the size of the first.
    pub const MOST: usize = 16;

    /// Anchors that are checked.
    ///
    /// # Errors
    /// A sentence: none or more than [`MOST`](Self::MOST) values, values that do not rise, or one outside 1e-3 to 1e9.
    pub fn new(values: Vec<f64>) -> Result<Self, String> {
        if values.is_empty() || values.len() > Self::MOST {
            return Err(format!("1 to {} anchors were expected, not {}", Self::MOST, values.len()));
        }
        if let Some(wrong) = values.iter().find(|value| !(1e-3..=1e9).contains(*value)) {
            return Err(format!("anchors from 0.001 to 1e9 were expected, not {wrong}"));
        }
        if let Some(pair) = values.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("rising anchors were expected, but {} follows {}", pair[1], pair[0]));
        }
        Ok(Self(values))
    }

    /// The values, rising.
    pub fn values(&self) -> &[f64] {
        &self.0
    }
}

impl Default for Anchors {
    fn default() -> Self {
        Self(vec![1.0, 10.0, 100.0, 1000.0])
    }
}

impl fmt::Display for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(f64::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl SettingValue for Anchors {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.trim().parse::<f64>().map_err(|_| "numbers separated by commas were expected".to_string())
        };
        Self::new(text.split(',').map(number).collect::<Result<_, _>>()?)
    }
    fn to_value(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use demix_signal::settings::Settings as _;

    use super::*;

    #[test]
    fn anchors_are_read_as_they_are_written() {
        let anchors = Anchors::parse("1, 10,1e2,1000").unwrap();
        assert_eq!(anchors, Anchors::default());
        assert_eq!(anchors.to_string(), "1,10,100,1000");
        for wrong in ["", "1,,2", "1,x", "10,1", "1,1", "0", "-1", "nan", "inf", "1e10"] {
            assert!(Anchors::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Anchors::new((1..=17).map(f64::from).collect()).is_err());
    }

    #[test]
    fn the_defaults_are_in_their_ranges() {
        NetworkSettings::default().check().unwrap();
        TrainSettings::default().check().unwrap();
    }
}
