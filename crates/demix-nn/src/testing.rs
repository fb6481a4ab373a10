//! What the tests of several rooms share.

use demix_signal::StftSettings;
use serde_json::Value;

use crate::{Header, Loss, NetworkSettings, VERSION};

/// A network of 17 bins and two hidden layers of 8 units.
pub(crate) fn header(loss: Loss) -> Header {
    let network = NetworkSettings { width: 8, hidden: 2, context: 1, bands: 6, ..NetworkSettings::default() };
    Header {
        version: VERSION,
        network,
        stft: StftSettings::new(32, 16),
        sample_rate: 8000,
        source: "bass".into(),
        loss,
        log: Value::Null,
    }
}
