//! The filters of a demixing as files.

use std::path::{Path, PathBuf};

use demix_files::{npy, report};
use demix_signal::Waveform;
use demix_signal::settings::Settings as _;
use ndarray::{Array3, Axis, stack};
use serde_json::json;

use super::PipelineError;
use crate::separation::{Filters, Outcome};

/// What is written: W, the way from the outputs to their images, and how to read both.
pub(super) const FILES: [&str; 3] = ["demixing.npy", "images.npy", "filters.json"];

/// Writes the filters of all blocks.
pub(super) fn write(
    folder: &Path,
    outcome: &Outcome,
    mixture: &Waveform,
) -> Result<Vec<PathBuf>, PipelineError> {
    let paths: Vec<PathBuf> = FILES.iter().map(|name| folder.join(name)).collect();
    let stacked = |of: fn(&Filters) -> &Array3<_>| {
        let blocks: Vec<_> = outcome.filters.iter().map(|filters| of(filters).view()).collect();
        stack(Axis(0), &blocks).unwrap_or_default()
    };
    npy::write(&paths[0], &stacked(|filters| &filters.demixing))?;
    npy::write(&paths[1], &stacked(|filters| &filters.images))?;
    let first: Vec<usize> = outcome.filters.iter().map(|filters| filters.first_sample).collect();
    let has_bins = outcome.filters.iter().any(|filters| filters.demixing.dim().0 > 1);
    let (bins, domain) = if has_bins { ("bins", "in every bin") } else { ("1", "at every sample") };
    let mut meaning = json!({
        "demixing.npy": format!("W, complex128, (blocks, {bins}, sources, channels): y = W x {domain}"),
        "images.npy": format!("A, complex128, (blocks, {bins}, channels, sources): a_n y_n is the image of source n"),
        "first_sample_of_block": first,
        "sample_rate": mixture.sample_rate,
    });
    if has_bins {
        meaning["stft"] = json!(outcome.stft.values());
        meaning["transform"] =
            json!("X_ij = sum_t w[t] x[t + j hop] e^(-2 pi i t / fft), frames centred, not normalised");
    }
    report::write_json(&paths[2], &meaning)?;
    Ok(paths)
}
