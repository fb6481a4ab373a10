//! Small networks and synthesised excerpts.

use demix_nn::{Excerpt, Header, Loss, NetworkSettings, TrainSettings, VERSION};
use demix_signal::StftSettings;
use ndarray::Array2;
use serde_json::json;

pub const LOSSES: [Loss; 6] = [
    Loss::SquareRoot,
    Loss::ItakuraSaito,
    Loss::Student { nu: 500.0 },
    Loss::Product { nu_nmf: 10.0 },
    Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 },
    Loss::EmpiricalBayes,
];

/// 33 bins, two hidden layers of 24 units.
pub fn header(loss: Loss) -> Header {
    Header {
        version: VERSION,
        network: NetworkSettings {
            width: 24,
            hidden: 2,
            context: 1,
            bands: 12,
            ..NetworkSettings::default()
        },
        stft: StftSettings::new(64, 32),
        sample_rate: 8000,
        source: "bass".into(),
        loss,
        log: json!({"songs": ["a", "b"], "score": 0.1}),
    }
}

pub fn settings() -> TrainSettings {
    TrainSettings { batch: 16, seed: 3, ..TrainSettings::default() }
}

/// A number in [0, 1) that looks random.
fn noise(mut x: u64) -> f32 {
    for shift in [33, 29, 32] {
        x = (x ^ (x >> shift)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
    (x >> 40) as f32 / (1u64 << 24) as f32
}

/// 16 frames: the source has the low bins, the other one the high ones, both come and go and overlap.
pub fn excerpt(index: u64) -> Excerpt {
    let source = Array2::from_shape_fn((33, 16), |(bin, frame)| {
        let (seed, bin_seed) =
            (index * 1000 + frame as u64 / 4, (index * 16 + frame as u64) * 33 + bin as u64);
        let shape = (-((bin as f32 - 6.0) / 4.0).powi(2)).exp();
        noise(seed) * shape * (0.2 + noise(bin_seed))
    });
    let other = Array2::from_shape_fn((33, 16), |(bin, frame)| {
        let (seed, bin_seed) =
            (index * 999 + frame as u64 / 3, (index * 16 + frame as u64) * 77 + bin as u64);
        let shape = (-((bin as f32 - 18.0) / 6.0).powi(2)).exp();
        noise(seed + 7) * shape * (0.2 + noise(bin_seed + 7))
    });
    Excerpt { mixture: &source + &other, source, margin: 0 }
}

pub fn examples(index: u64) -> Result<Excerpt, String> {
    Ok(excerpt(index))
}
