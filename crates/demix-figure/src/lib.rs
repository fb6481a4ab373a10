//! Pictures of separation results, as PNG.
//!
//! Every function takes plain data and returns a [`Picture`]; no file is touched. Text is dark on
//! white, axes have round ticks and units, levels share one colour map, values that are not finite
//! are drawn in a neutral grey. Pictures are 1400 pixels wide, to be read at 700.
//!
//! | picture | shows |
//! | --- | --- |
//! | [`spectrogram`], [`spectrogram_grid`] | level over time and frequency; a mixture above its sources |
//! | [`mask`] | the share of a source in each bin and frame |
//! | [`dictionary`], [`activations`], [`factors`] | the two factors of a factorisation |
//! | [`cost_curve`], [`cost_curves`] | cost over iterations |
//! | [`score_curves`] | scores over iterations |
//! | [`learning_curves`] | loss and scores of a training over epochs |
//! | [`waveforms`] | samples over time, one panel per signal |
//! | [`scene`] | a room from above, and the decay of sound in it |
//! | [`bars`] | scores by source and method |
//! | [`boxes`] | how they are spread over many tracks |

#![forbid(unsafe_code)]

mod axis;
mod bars;
mod boxes;
mod canvas;
mod curves;
mod factors;
mod heat;
mod learning_curves;
mod panel;
mod scene;
mod score_curves;
mod spectrogram;
mod style;
mod waveforms;

pub use axis::FrequencyAxis;
pub use bars::{BarPlot, BarSeries, bars};
pub use boxes::{BoxPlot, BoxSeries, boxes};
pub use canvas::{Label, Picture};
pub use curves::{cost_curve, cost_curves};
pub use factors::{FactorPlot, Factors, Quantity, activations, dictionary, factors};
pub use learning_curves::{LearningPanel, learning_curves};
pub use scene::{ScenePlot, scene};
pub use score_curves::score_curves;
pub use spectrogram::{SpectrogramPlot, StftGrid, mask, spectrogram, spectrogram_grid};
pub use waveforms::waveforms;
