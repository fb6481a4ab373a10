//! [`Watch`]: how long work tells of its progress and is asked to stop.

/// One sign of life from long work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done: `"stft"`, `"factorise"`, `"write"`...
    pub stage: &'static str,
    /// Steps of this stage that are done.
    pub done: usize,
    /// Steps of this stage at the most; work may stop earlier (tolerance).
    pub total: usize,
    /// The cost after the last step, where the stage has one.
    pub cost: Option<f64>,
}

/// The caller asked for the work to stop; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Cancelled;

/// Follows long work and may cancel it.
///
/// `()` watches nothing and never cancels; a closure `FnMut(Progress) -> bool` returns whether to
/// go on.
pub trait Watch {
    /// Called after every step.
    ///
    /// # Errors
    /// [`Cancelled`] ends the work at once; it hands the error on to its caller.
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled>;
}

impl Watch for () {
    fn progress(&mut self, _: Progress) -> Result<(), Cancelled> {
        Ok(())
    }
}

impl<F: FnMut(Progress) -> bool> Watch for F {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        if self(progress) { Ok(()) } else { Err(Cancelled) }
    }
}
