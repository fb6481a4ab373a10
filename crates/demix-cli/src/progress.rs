//! Progress for people (a bar on a terminal) and for programs (JSON lines); Ctrl-C.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use demix::signal::{Cancelled, Progress, Watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// The first Ctrl-C asks the work to stop at its next step, the second ends the process at once.
pub fn stop_on_interrupt() {
    // without a handler Ctrl-C ends the process, which is right, too
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
            demix::files::atomic::abandon_all();
            std::process::exit(130);
        }
    });
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// How the user wants to be told.
pub struct Reporter {
    quiet: bool,
    json: bool,
}

impl Reporter {
    pub fn new(quiet: bool, json: bool) -> Self {
        Self { quiet, json }
    }

    /// A sentence for people; nothing with --quiet or --json.
    pub fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            print(text);
        }
    }

    /// A result: text for people also with --quiet, one JSON line for programs.
    pub fn result(&self, text: &str, value: &Value) {
        print(if self.json { value.to_string() } else { text.to_string() }.trim_end());
    }

    /// An event for programs.
    pub fn event(&self, value: &Value) {
        if self.json {
            print(&value.to_string());
        }
    }

    pub fn warn(&self, text: &str) {
        if self.json {
            print(&json!({ "event": "warning", "text": text }).to_string());
        } else if !self.quiet {
            print_error("warning", text);
        }
    }

    pub fn error(&self, text: &str) {
        if self.json {
            print(&json!({ "event": "error", "text": text }).to_string());
        }
        print_error("error", text);
    }

    /// Follows one piece of work.
    pub fn follow(&self, name: &str) -> Follower<'_> {
        let visible = !self.quiet && !self.json && std::io::stderr().is_terminal();
        let bar = if visible { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if visible {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style_of(1));
            bar.set_prefix(one_line(name));
        }
        Follower { reporter: self, bar, name: name.into(), stage: None, clock: Instant::now(), told: None }
    }
}

/// A bar for many steps, words for one.
fn style_of(n_steps: usize) -> ProgressStyle {
    let template =
        if n_steps > 1 { "{prefix} {msg:12} [{bar:30}] {pos}/{len}, {eta} left" } else { "{prefix} {msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// Why standard output took no more, where that matters.
static UNPRINTED: OnceLock<String> = OnceLock::new();

/// Prints a line; a closed pipe (`demix ... | head`) is no reason to complain, a full disk is: see [`unprinted`].
pub fn print(text: &str) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}")
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = UNPRINTED.set(error.to_string());
    }
}

/// Why some of the output is lost, if it is.
pub fn unprinted() -> Option<&'static str> {
    UNPRINTED.get().map(String::as_str)
}

/// One line on standard error, whatever characters names of files are made of.
pub fn print_error(kind: &str, text: &str) {
    // where standard error is closed, nobody can be told
    let _ = writeln!(std::io::stderr(), "{kind}: {}", one_line(text));
}

/// `text` with control characters escaped.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The watch of one piece of work.
pub struct Follower<'a> {
    reporter: &'a Reporter,
    bar: ProgressBar,
    name: String,
    stage: Option<Stage>,
    /// Since the beginning of the work.
    clock: Instant,
    told: Option<Instant>,
}

/// The stage that the work is in.
struct Stage {
    name: &'static str,
    /// Steps that were done when it began: those of earlier runs, where work goes on.
    first: usize,
    last: usize,
    clock: Instant,
}

impl Stage {
    fn new(progress: &Progress) -> Self {
        let first = progress.done;
        Self { name: progress.stage, first, last: first, clock: Instant::now() }
    }

    /// Whether this tells of the same stage; one that has done less than before is another of the same name.
    fn goes_on(&self, progress: &Progress) -> bool {
        progress.stage == self.name && progress.done >= self.last
    }
}

/// Seconds that a stage will take after `seconds` of it, in which `done - first` of its steps were done.
fn remaining(seconds: f64, first: usize, done: usize, total: usize) -> f64 {
    let of_this_run = done.saturating_sub(first).max(1);
    seconds / of_this_run as f64 * total.saturating_sub(done) as f64
}

/// Events of one stage come at most so often.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);

impl Watch for Follower<'_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        if interrupted() {
            return Err(Cancelled);
        }
        self.bar.set_length(progress.total as u64);
        let stage = match &mut self.stage {
            Some(stage) if stage.goes_on(&progress) => {
                stage.last = progress.done;
                self.bar.set_position(progress.done as u64);
                stage
            }
            stage => {
                // events of short stages of one name come no more often than others
                if stage.as_ref().is_none_or(|stage| stage.name != progress.stage) {
                    self.told = None;
                }
                self.bar.reset();
                self.bar.set_message(progress.stage);
                self.bar.set_style(style_of(progress.total));
                self.bar.set_position(progress.done as u64);
                // what earlier runs did tells nothing of the speed of this one
                self.bar.reset_eta();
                self.bar.tick();
                stage.insert(Stage::new(&progress))
            }
        };
        let last = progress.done >= progress.total;
        if self.reporter.json && (last || self.told.is_none_or(|told| told.elapsed() >= EVENT_INTERVAL)) {
            self.told = Some(Instant::now());
            let here = stage.clock.elapsed().as_secs_f64();
            self.reporter.event(&json!({
                "event": "progress",
                "input": self.name,
                "stage": progress.stage,
                "iteration": progress.done,
                "total": progress.total,
                "cost": progress.cost,
                "elapsed": self.clock.elapsed().as_secs_f64(),
                "remaining": remaining(here, stage.first, progress.done, progress.total),
            }));
        }
        Ok(())
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_by_the_steps_of_this_run() {
        assert_eq!(remaining(10.0, 0, 5, 20), 30.0);
        // ten seconds for five steps, whatever earlier runs did
        assert_eq!(remaining(10.0, 1000, 1005, 1020), 30.0);
        assert_eq!(remaining(10.0, 7, 7, 7), 0.0);
    }

    #[test]
    fn a_stage_ends_with_its_name_or_when_less_is_done() {
        let tell = |stage, done| Progress { stage, done, total: 9, cost: None };
        let mut stage = Stage::new(&tell("train", 3));
        assert_eq!(stage.first, 3);
        assert!(stage.goes_on(&tell("train", 3)) && stage.goes_on(&tell("train", 9)));
        assert!(!stage.goes_on(&tell("separate", 4)));
        stage.last = 9;
        // the next network
        assert!(!stage.goes_on(&tell("train", 0)));
    }
}
