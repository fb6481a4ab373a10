//! Networks from checkpoint files.

use std::path::Path;
use std::sync::Arc;

use demix_files::report;
use demix_nn::Network;

use super::PipelineError;
use crate::spatial::SourceNetwork;

/// The network of a source from its checkpoint.
///
/// # Errors
/// A file that cannot be read or is no checkpoint; the message names it.
pub fn read(name: &str, path: &Path) -> Result<SourceNetwork, PipelineError> {
    let bytes = report::read_bytes(path)?;
    let network = Network::from_bytes(&bytes)
        .map_err(|why| PipelineError::Request(format!("{}: {why}", path.display())))?;
    Ok(SourceNetwork { name: name.into(), file: path.display().to_string(), network: Arc::new(network) })
}
