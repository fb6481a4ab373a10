//! The method and the number of sources for a recording, and why: `--method auto`.

use demix_signal::{Stft, StftSettings, Waveform};
use demix_spatial::count_directions;
use demix_spatial::instantaneous::convolutive_evidence;

use crate::method::DEFAULT_SOURCES;
use crate::separation::{SeparationError, check_mixture};
use crate::spatial::channels::Distinct;

/// How much of a recording is looked at, in seconds.
pub(super) const LOOKED_AT: f64 = 60.0;
/// The gap of directions, in dB, that separates sources from noise: three speakers before microphones 5.66 cm apart have
/// levels of 0, -9 and -18 dB, so that narrower gaps tell of the array and not of the number of sources.
const LEAST_GAP: f64 = 20.0;
/// Two channels that differ by less than this share of their power are one channel: -60 dB.
const SAME: f64 = 1e-6;

/// What `auto` chose.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub method: &'static str,
    pub n_sources: Option<usize>,
    /// The evidence, one sentence.
    pub why: String,
}

/// One channel: `nmf`. Several: demixing, instantaneous where the cross spectra are real, convolutive elsewhere, into as
/// many sources as there are directions; `nmf` again where all channels are one, or more sources are asked for than
/// there are channels.
pub(super) fn choose(part: &Waveform, n_sources: Option<usize>) -> Result<Choice, SeparationError> {
    let m = part.n_channels();
    let nmf = |why: String| Ok(Choice { method: "nmf", n_sources, why });
    if m == 1 {
        return nmf("one channel: nmf, which tells sources apart by their spectra".into());
    }
    check_mixture(part)?;
    let n_different = Distinct::within(part, SAME, &mut Vec::new()).len();
    if n_different < 2 {
        return nmf(format!(
            "{m} channels that hold the same: nmf, which tells sources apart by their spectra"
        ));
    }
    if let Some(n) = n_sources.filter(|&n| n > n_different) {
        return nmf(format!(
            "{n} sources in {n_different} different channels, too few to demix: nmf on their mean power, one mask for all"
        ));
    }
    let evidence = convolutive_evidence(part, m)?;
    let figure =
        format!("the cross spectra of the channels turn by {:.4} (0: real gains)", evidence.evidence);
    if !evidence.convolutive {
        let n = n_sources.unwrap_or(n_different);
        let why = format!("{m} channels, {figure}: sources panned without delays, {INSTANTANEOUS}");
        return Ok(Choice { method: INSTANTANEOUS, n_sources: Some(n), why });
    }
    let (n, how) = match n_sources {
        Some(n) => (n, format!("{n} sources as asked for")),
        None if m == 2 => (2, "two sources".into()),
        None => {
            let stft = StftSettings::default().for_rate(part.sample_rate);
            let x = Stft::<f32>::new(&stft)?.forward(part)?;
            let count = count_directions(x.data.view(), LEAST_GAP);
            let levels: Vec<String> = count.levels.iter().map(|level| format!("{level:.0}")).collect();
            (
                count.n_sources,
                format!("{} sources by the levels of {} dB", count.n_sources, levels.join(", ")),
            )
        }
    };
    let why = format!("{m} channels, {figure}: delays and echoes, ilrma; {how}");
    Ok(Choice { method: "ilrma", n_sources: Some(n.max(DEFAULT_SOURCES.min(m))), why })
}

/// The method for mixtures without delays.
const INSTANTANEOUS: &str = "sobi";
