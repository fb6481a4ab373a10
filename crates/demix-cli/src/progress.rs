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
        Follower {
            reporter: self,
            bar,
            name: name.into(),
            stage: "",
            clock: Instant::now(),
            started: Instant::now(),
            told: None,
        }
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
    stage: &'static str,
    /// Since the beginning of the work, and of its stage.
    clock: Instant,
    started: Instant,
    told: Option<Instant>,
}

/// Events of one stage come at most so often.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);

impl Watch for Follower<'_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        if interrupted() {
            return Err(Cancelled);
        }
        if progress.stage != self.stage {
            self.stage = progress.stage;
            self.started = Instant::now();
            self.told = None;
            self.bar.reset();
            self.bar.set_message(progress.stage);
            self.bar.set_style(style_of(progress.total));
            self.bar.tick();
        }
        self.bar.set_length(progress.total as u64);
        self.bar.set_position(progress.done as u64);
        let last = progress.done >= progress.total;
        if self.reporter.json && (last || self.told.is_none_or(|told| told.elapsed() >= EVENT_INTERVAL)) {
            self.told = Some(Instant::now());
            let here = self.started.elapsed().as_secs_f64();
            let steps_left = progress.total.saturating_sub(progress.done) as f64;
            let remaining = here / progress.done.max(1) as f64 * steps_left;
            self.reporter.event(&json!({
                "event": "progress",
                "input": self.name,
                "stage": progress.stage,
                "iteration": progress.done,
                "total": progress.total,
                "cost": progress.cost,
                "elapsed": self.clock.elapsed().as_secs_f64(),
                "remaining": remaining,
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
