//! [`Axis`]: from a value to a place on the paper, with round ticks and their texts.

use std::ops::Range;

use crate::canvas::text_width;
use crate::style::{GAP, NUMBER};

/// Most ticks along one axis.
const MAX_TICKS: usize = 9;
/// Place that one number needs along a vertical axis, in text sizes.
const LINE: f32 = 1.5;

/// How the frequency axis of a picture is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrequencyAxis {
    /// Equal distances for equal differences in Hz.
    #[default]
    Linear,
    /// Equal distances for equal ratios (octaves); starts at 20 Hz or half a bin.
    Log,
    /// Equal distances for equal differences in mel, 2595 log10(1 + f / 700 Hz): nearly linear
    /// below 700 Hz and logarithmic above, like hearing.
    Mel,
}

/// What is drawn at equal distances: the value itself, or a function of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Warp {
    Linear,
    Log,
    Mel,
}

impl Warp {
    fn forward(self, value: f64) -> f64 {
        match self {
            Warp::Linear => value,
            Warp::Log => value.max(f64::MIN_POSITIVE).log10(),
            Warp::Mel => (1.0 + value.max(-699.0) / 700.0).log10(),
        }
    }

    fn inverse(self, warped: f64) -> f64 {
        match self {
            Warp::Linear => warped,
            Warp::Log => 10f64.powf(warped),
            Warp::Mel => 700.0 * (10f64.powf(warped) - 1.0),
        }
    }
}

/// Which way an axis runs over the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Across,
    Up,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub text: String,
}

/// One axis: `low` lies at the left or lower end, `high` at the right or upper end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub low: f64,
    pub high: f64,
    pub warp: Warp,
    pub ticks: Vec<Tick>,
    pub title: String,
}

impl Axis {
    fn linear(low: f64, high: f64, ticks: Vec<Tick>, title: &str) -> Self {
        Self { low, high, warp: Warp::Linear, ticks, title: title.to_owned() }
    }

    /// Share of the axis below `value`, 0..1.
    pub fn position(&self, value: f64) -> f64 {
        let (low, high) = (self.warp.forward(self.low), self.warp.forward(self.high));
        ((self.warp.forward(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// The value at a share of the axis.
    fn value(&self, position: f64) -> f64 {
        let (low, high) = (self.warp.forward(self.low), self.warp.forward(self.high));
        self.warp.inverse(low + position * (high - low))
    }

    /// Which of `n` cells, the `i`th around the value `origin + i * step`, each of `pixels` shows.
    ///
    /// Where there are more cells than pixels, every cell belongs to exactly one pixel.
    pub fn cells(&self, pixels: usize, n: usize, origin: f64, step: f64) -> Vec<Range<usize>> {
        let edge = |i: usize| {
            let value = self.value(i as f64 / pixels as f64);
            // the small shift undoes rounding errors just below a whole number
            ((value - origin) / step + 0.5 + 1e-7).clamp(0.0, n as f64) as usize
        };
        let edges: Vec<usize> = (0..=pixels).map(edge).collect();
        let cell = |pair: &[usize]| {
            let start = pair[0].min(pair[1]).min(n - 1);
            start..pair[0].max(pair[1]).max(start + 1)
        };
        edges.windows(2).map(cell).collect()
    }

    /// The axis that `build(most ticks)` gives with the most ticks whose texts stay apart.
    fn most_ticks(build: impl Fn(usize) -> Self, most: usize, length: f32, way: Way) -> Self {
        (2..=most)
            .rev()
            .map(&build)
            .find(|axis| axis.texts_stay_apart(length, way))
            .unwrap_or_else(|| build(1))
    }

    fn texts_stay_apart(&self, length: f32, way: Way) -> bool {
        self.ticks.windows(2).all(|pair| {
            let gap = (self.position(pair[1].value) - self.position(pair[0].value)).abs();
            gap as f32 * length >= (extent(&pair[0], way) + extent(&pair[1], way)) / 2.0
        })
    }

    /// Numbers of any size; a common power of ten moves into the title.
    pub fn numbers(title: &str, low: f64, high: f64, length: f32, way: Way) -> Self {
        let (low, high) = widened(low, high);
        let build = |most| {
            let (ticks, power) = number_texts(round_ticks(low, high, most));
            let title = match power {
                0 => title.to_owned(),
                power => format!("{title} (×10{})", superscript(power)),
            };
            Self::linear(low, high, ticks, &title)
        };
        Self::most_ticks(build, MAX_TICKS, length, way)
    }

    /// Positive numbers at equal distances for equal ratios.
    pub fn powers(title: &str, low: f64, high: f64, length: f32, way: Way) -> Self {
        let build = |most| {
            let (ticks, title) = (power_ticks(low, high, most), title.to_owned());
            Self { low, high, warp: Warp::Log, ticks, title }
        };
        Self::most_ticks(build, MAX_TICKS, length, way)
    }

    /// Time in seconds.
    pub fn time(low: f64, high: f64, length: f32) -> Self {
        let (low, high) = widened(low, high);
        Self::most_ticks(|most| time_axis(low, high, most), MAX_TICKS, length, Way::Across)
    }

    /// Whole numbers `first..first + n`, each in the middle of its own cell.
    pub fn counts(title: &str, first: usize, n: usize, length: f32, way: Way) -> Self {
        let (low, high) = (first as f64, (first + n.max(1) - 1) as f64);
        let build = |most: usize| {
            let values = match n <= most {
                true => (0..n).map(|i| low + i as f64).collect(),
                false => round_ticks(low, high, most),
            };
            let whole = values.into_iter().filter(|v| v.fract() == 0.0);
            let ticks = whole.map(|value| Tick { value, text: format!("{value}") }).collect();
            Self::linear(low - 0.5, high + 0.5, ticks, title)
        };
        Self::most_ticks(build, if n <= 20 { n } else { MAX_TICKS }, length, way)
    }

    /// Frequencies of `n` bins, `spacing` Hz apart from 0 on.
    pub fn frequency(kind: FrequencyAxis, n: usize, spacing: f64, length: f32, way: Way) -> Self {
        let high = (n as f64 - 0.5) * spacing;
        let (warp, low) = match kind {
            FrequencyAxis::Mel if n > 2 => (Warp::Mel, 0.0),
            FrequencyAxis::Log if n > 2 && high > 80.0 => (Warp::Log, (0.5 * spacing).max(20.0)),
            FrequencyAxis::Log if n > 2 => (Warp::Log, 0.5 * spacing),
            _ => (Warp::Linear, -0.5 * spacing),
        };
        if warp == Warp::Linear {
            let (title, unit) = match high >= 1500.0 {
                true => ("Frequency (kHz)", 1000.0),
                false => ("Frequency (Hz)", 1.0),
            };
            let build = |most| {
                let ticks = texts_in_unit(round_ticks(0.0, high / unit, most), unit);
                Self::linear(low, high, ticks, title)
            };
            return Self::most_ticks(build, MAX_TICKS, length, way);
        }
        let mut axis = Self { low, high, warp, ticks: vec![], title: "Frequency (Hz)".to_owned() };
        axis.ticks = spread_ticks(&axis, length, way);
        axis
    }
}

/// Length of the axis that the text of a tick needs for itself.
fn extent(tick: &Tick, way: Way) -> f32 {
    match way {
        Way::Across => text_width(&tick.text, NUMBER) + 3.0 * GAP,
        Way::Up => LINE * NUMBER,
    }
}

/// A range that has a length: equal, reversed, huge or not finite ends are replaced.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let tame = |x: f64| if x.is_nan() { 0.0 } else { x.clamp(-1e300, 1e300) };
    let (low, high) = (tame(low).min(tame(high)), tame(low).max(tame(high)));
    let size = low.abs().max(high.abs());
    if high - low > 1e-9 * size && high - low > 1e-300 {
        return (low, high);
    }
    let half = if size > 1e-290 { 0.1 * size } else { 0.5 };
    (low - half, high + half)
}

/// Round values between `low` and `high`, both included: 1, 2 or 5 times a power of ten apart,
/// `most` at most.
///
/// From 8 on, `most` leaves at least 3 values: the chosen step is at most 2.5 times the finer
/// one, which had more than `most` values.
pub(crate) fn round_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let (low, high) = widened(low, high);
    let most = most.max(1) as f64;
    let finest = ((high - low) / (most + 1.0)).log10().floor() as i32;
    for (exponent, factor) in (finest..=305).flat_map(|e| [(e, 1.0), (e, 2.0), (e, 5.0)]) {
        let power = 10f64.powi(exponent.abs());
        // dividing by a whole power keeps 3 / 10 = 0.3 exact, unlike 3 * 0.1
        let value = |i: f64| match exponent < 0 {
            true => i * factor / power,
            false => i * factor * power,
        };
        let (first, last) = ((low / value(1.0) - 1e-9).ceil(), (high / value(1.0) + 1e-9).floor());
        if last - first < most {
            let count = (last - first + 1.0).max(0.0) as usize;
            // adding 0 turns -0 into 0
            return (0..count).map(|i| value(first + i as f64).clamp(low, high) + 0.0).collect();
        }
    }
    vec![]
}

/// Ticks at `values * unit`, with the texts of `values`, all with the same number of decimals.
fn texts_in_unit(values: Vec<f64>, unit: f64) -> Vec<Tick> {
    let step = match values.as_slice() {
        [first, second, ..] => (second - first).abs(),
        [only] => only.abs(),
        [] => 0.0,
    };
    let decimals = if step > 0.0 { -(step.log10() + 1e-6).floor() } else { 0.0 };
    let decimals = decimals.clamp(0.0, 12.0) as usize;
    let tick = |value: f64| Tick { value: value * unit, text: signed(value, decimals) };
    values.into_iter().map(tick).collect()
}

/// Ticks, and the power of ten (a multiple of 3) that their texts leave out.
fn number_texts(values: Vec<f64>) -> (Vec<Tick>, i32) {
    let size = values.iter().fold(0f64, |size, v| size.max(v.abs()));
    if size == 0.0 || (1e-2..1e5).contains(&size) {
        return (texts_in_unit(values, 1.0), 0);
    }
    let power = 3 * (size.log10() / 3.0 + 1e-9).floor() as i32;
    let unit = 10f64.powi(power);
    (texts_in_unit(values.into_iter().map(|v| v / unit).collect(), unit), power)
}

/// A number with a true minus sign.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.contains(|c| ('1'..='9').contains(&c)) => format!("−{digits}"),
        Some(digits) => digits.to_owned(),
        None => text,
    }
}

fn superscript(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digit = |c: char| c.to_digit(10).map_or('⁻', |d| DIGITS[d as usize]);
    power.to_string().chars().map(digit).collect()
}

/// Powers of ten; 1, 2 and 5 times powers of ten where these are few enough.
fn power_ticks(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let inside = |v: f64| v >= low * (1.0 - 1e-9) && v <= high * (1.0 + 1e-9);
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let plain = low >= 0.99e-3 && high < 1.01e5;
    let tick = |e: i32, m: u8| {
        let value = f64::from(m) * 10f64.powi(e);
        let text = match (plain, m) {
            (true, _) => signed(value, (-e).max(0) as usize),
            (false, 1) => format!("10{}", superscript(e)),
            (false, m) => format!("{m}×10{}", superscript(e)),
        };
        inside(value).then_some(Tick { value, text })
    };
    let fine = (first..=last).flat_map(|e| [1, 2, 5].map(|m| tick(e, m))).flatten();
    let fine: Vec<Tick> = fine.collect();
    if fine.len() <= most {
        return fine;
    }
    [1, 2, 3, 5, 10, 20, 50, 100, 1000]
        .into_iter()
        .map(|step| (first..=last).filter(|e| e % step == 0).filter_map(|e| tick(e, 1)).collect())
        .find(|ticks: &Vec<Tick>| ticks.len() <= most.max(1))
        .unwrap_or_default()
}

/// Frequencies 1, 5, 2 times powers of ten, in this order wherever there is room.
fn spread_ticks(axis: &Axis, length: f32, way: Way) -> Vec<Tick> {
    let text = |hertz: f64| match hertz {
        ..1.0 => format!("{hertz}"),
        ..1000.0 => format!("{}", hertz.round()),
        _ => format!("{}k", (hertz / 1000.0).round()),
    };
    let times = |m: f64| (-2..=6).rev().map(move |e: i32| m * 10f64.powi(e));
    // 0 comes first, an axis that starts there must say so; then powers of ten before the rest
    let candidates = [0.0].into_iter().chain(times(1.0)).chain(times(5.0)).chain(times(2.0));
    let mut kept: Vec<Tick> = Vec::new();
    for value in candidates.filter(|v| *v >= axis.low && *v <= axis.high) {
        let tick = Tick { value, text: text(value) };
        let stays_apart = |other: &Tick| {
            let gap = (axis.position(other.value) - axis.position(value)).abs() as f32;
            gap * length >= (extent(other, way) + extent(&tick, way)) / 2.0
        };
        if kept.iter().all(stays_apart) {
            kept.push(tick);
        }
    }
    kept.sort_by(|a, b| a.value.total_cmp(&b.value));
    kept
}

/// Time in the unit that keeps the numbers short: ms, s, min:s or h:min:s.
fn time_axis(low: f64, high: f64, most: usize) -> Axis {
    /// Steps that divide minutes, hours and days, in seconds.
    const STEPS: [f64; 14] = [
        10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 18000.0, 43200.0,
        86400.0,
    ];
    let start = low.max(0.0).min(high);
    if high <= 120.0 {
        let (title, unit) = if high < 0.2 { ("Time (ms)", 1e-3) } else { ("Time (s)", 1.0) };
        let ticks = texts_in_unit(round_ticks(start / unit, high / unit, most), unit);
        return Axis::linear(low, high, ticks, title);
    }
    let first = |step: f64| (start / step - 1e-9).ceil();
    let count = |step: f64| (high / step + 1e-9).floor() - first(step) + 1.0;
    let step = STEPS.into_iter().find(|step| count(*step) <= most as f64).unwrap_or(high);
    let clock = |value: f64| {
        let seconds = value.round() as u64;
        let (h, min, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match high >= 3600.0 {
            true => format!("{h}:{min:02}:{s:02}"),
            false => format!("{min}:{s:02}"),
        }
    };
    let values = (0..count(step).max(0.0) as usize).map(|i| (first(step) + i as f64) * step);
    let ticks = values.map(|value| Tick { value: value.min(high), text: clock(value) }).collect();
    let title = if high >= 3600.0 { "Time (h:min:s)" } else { "Time (min:s)" };
    Axis::linear(low, high, ticks, title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ticks_are_round_few_and_inside(low in -1e6f64..1e6, decade in -6i32..12, m in 1.0f64..10.0) {
            let high = low + m * 10f64.powi(decade);
            prop_assume!(high - low > 1e-7 * low.abs());
            let ticks = round_ticks(low, high, 10);
            prop_assert!((3..=10).contains(&ticks.len()), "{ticks:?}");
            let step = (ticks[ticks.len() - 1] - ticks[0]) / (ticks.len() - 1) as f64;
            let mantissa = step / 10f64.powf((step.log10() + 1e-3).floor());
            // differences of two values near `low` keep an error of an ulp of `low`
            let near = |m: f64| (mantissa - m).abs() < 1e-6;
            prop_assert!(near(1.0) || near(2.0) || near(5.0), "step {step}");
            prop_assert!(ticks.iter().all(|v| (low..=high).contains(v)));
        }

        #[test]
        fn times_are_few_and_inside(seconds in 0.01f64..11000.0, length in 500f32..1300.0) {
            let axis = Axis::time(0.0, seconds, length);
            prop_assert!((2..=MAX_TICKS).contains(&axis.ticks.len()), "{axis:?}");
            prop_assert!(axis.texts_stay_apart(length, Way::Across));
            prop_assert!(axis.ticks.iter().all(|t| (0.0..=seconds).contains(&t.value)));
        }

        #[test]
        fn cells_are_dealt_out_once(n in 1usize..3000, pixels in 1usize..700, kind in 0..3) {
            let kind = [FrequencyAxis::Linear, FrequencyAxis::Mel, FrequencyAxis::Log][kind as usize];
            let axis = Axis::frequency(kind, n, 10.0, pixels as f32, Way::Up);
            let cells = axis.cells(pixels, n, 0.0, 10.0);
            prop_assert_eq!(cells.len(), pixels);
            prop_assert!(cells.iter().all(|cell| cell.start < cell.end && cell.end <= n));
            for pair in cells.windows(2) {
                let (a, b) = (&pair[0], &pair[1]);
                prop_assert!(b.start == a.end || (b.start == a.start && a.len() == 1), "{pair:?}");
            }
            prop_assert_eq!(cells[pixels - 1].end, n);
        }
    }

    #[test]
    fn ticks_by_hand() {
        assert_eq!(round_ticks(0.0, 1.0, 10), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(round_ticks(-80.0, 0.0, 5), [-80.0, -60.0, -40.0, -20.0, 0.0]);
        assert_eq!(round_ticks(0.1, 0.3, 3), [0.1, 0.2, 0.3]);
    }

    #[test]
    fn ranges_without_length_still_have_ticks() {
        for (low, high) in [(0.0, 0.0), (5.0, 5.0), (f64::NAN, 1.0), (f64::NEG_INFINITY, f64::MAX)] {
            assert!(!round_ticks(low, high, 9).is_empty(), "{low} {high}");
        }
        assert!(!Axis::powers("", 1e-320, 1e308, 500.0, Way::Up).ticks.is_empty());
    }

    #[test]
    fn times_turn_into_clock_times() {
        let texts = |seconds: f64| {
            let axis = Axis::time(0.0, seconds, 1000.0);
            (axis.title, axis.ticks.last().map(|t| t.text.clone()).unwrap_or_default())
        };
        let expected = |title: &str, last: &str| (title.to_owned(), last.to_owned());
        assert_eq!(texts(0.01), expected("Time (ms)", "10"));
        assert_eq!(texts(4.0), expected("Time (s)", "4.0"));
        assert_eq!(texts(180.0), expected("Time (min:s)", "3:00"));
        assert_eq!(texts(10800.0), expected("Time (h:min:s)", "3:00:00"));
    }

    #[test]
    fn a_minus_sign_is_not_a_hyphen_and_zero_has_none() {
        assert_eq!(signed(-1.25, 1), "−1.2");
        assert_eq!(signed(-0.01, 1), "0.0");
        assert_eq!(superscript(-30), "⁻³⁰");
    }

    #[test]
    fn mel_and_log_positions() {
        let axis = Axis::frequency(FrequencyAxis::Log, 1000, 10.0, 500.0, Way::Up);
        assert_eq!(axis.low, 20.0);
        // half the octaves lie below the geometric mean
        let middle = (axis.low * axis.high).sqrt();
        assert!((axis.position(middle) - 0.5).abs() < 1e-12);
        let axis = Axis::frequency(FrequencyAxis::Mel, 1000, 10.0, 500.0, Way::Up);
        let mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
        assert!((axis.position(1000.0) - mel(1000.0) / mel(axis.high)).abs() < 1e-12);
    }
}
