//! Which output of a bin is which source: the permutation that frequency-domain ICA leaves open.
//!
//! - [`by_activity`]: outputs of one source are loud at the same times in all bins. Power ratios
//!   |y_n|^2 / sum_n |y_n|^2 are compared by correlation (Sawada, Araki and Makino 2011), with neighbouring and harmonic
//!   bins above all. Groups of bins join the surest pair first, so that no early guess spoils what comes after.
//! - [`by_activity_and_orders`]: where the order of a bin is known otherwise, it counts as much as some of its
//!   neighbours; from directions of arrival see [`crate::plane_waves`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};
use rayon::prelude::*;

/// Rounds over all bins at the most; an alignment settles within about ten.
const ROUNDS: usize = 50;
/// Bins to each side that speak for the order of one bin.
const CLOSE: usize = 3;
/// Bins to each side that speak for the order of a group.
const NEAR: usize = 8;
/// Bins to each side whose agreement judges a whole alignment.
const WIDE: usize = 20;
/// The weight of two bins that are neither near nor harmonic, where groups are compared: with little of it a group whose
/// links are weak joins in any order, with much of it sources that sound together in one band are torn apart in another.
/// Each is tried; the alignment in which bins agree best with those around them is kept.
const FAR_WEIGHTS: [f64; 2] = [0.01, 0.002];
/// What is known of a bin's sources counts as much as this share of the bins around it.
const KNOWN_SHARE: f64 = 0.25;

/// The permutation of every bin by amplitude correlation: `order[[bin, n]]` is the output that is source n.
///
/// `power` is |a_n y_n|^2 of the outputs at the scale of a microphone, (bins, sources, frames).
///
/// `expected` is the power of each source as far as it is known otherwise, of the same shape: what a network hears of it
/// in the mixture. The outputs of all bins then take the order of these sources as well as each other's.
pub fn by_activity(power: ArrayView3<'_, f64>, expected: Option<ArrayView3<'_, f64>>) -> Array2<usize> {
    let activity = activities(power);
    let expected = expected.map(|expected| matches(&activity, expected));
    by_evidence(&activity, expected.as_deref())
}

/// The orders that [`by_activity`] chooses from, without those that come twice.
pub fn orders_by_activity(
    power: ArrayView3<'_, f64>,
    expected: Option<ArrayView3<'_, f64>>,
) -> Vec<Array2<usize>> {
    let activity = activities(power);
    let expected = expected.map(|expected| matches(&activity, expected));
    let candidates = permutations(activity.len_of(Axis(1)));
    let of_weight = |far_weight: &f64| ordered(&activity, &candidates, *far_weight, expected.as_deref());
    let orders: Vec<Array2<usize>> = FAR_WEIGHTS.par_iter().map(of_weight).collect();
    let mut different: Vec<Array2<usize>> = Vec::new();
    for order in orders {
        if !different.contains(&order) {
            different.push(order);
        }
    }
    different
}

/// a b^T of a few rows each: row by row, in one fixed order; a product of matrices would pack them first.
fn products(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| a.row(i).dot(&b.row(j)))
}

/// How well the outputs of each bin match sources whose powers are known, (source, output).
fn matches(activity: &Array3<f64>, expected: ArrayView3<'_, f64>) -> Vec<Array2<f64>> {
    let known = activities(expected);
    known.outer_iter().zip(activity.outer_iter()).map(|(known, bin)| products(known, bin)).collect()
}

fn ordered(
    activity: &Array3<f64>,
    candidates: &[Vec<usize>],
    far_weight: f64,
    expected: Option<&[Array2<f64>]>,
) -> Array2<usize> {
    let mut order = Groups::new(activity, candidates, far_weight, expected).join();
    settle(&mut order, activity, candidates, expected);
    order
}

/// [`by_activity`], where `orders[bin][[source, output]]` is 1 for an output that is known to be this source, else 0.
pub fn by_activity_and_orders(power: ArrayView3<'_, f64>, orders: &[Array2<f64>]) -> Array2<usize> {
    by_evidence(&activities(power), Some(orders))
}

/// The permutation of every bin from activities and what is known of its sources, (source, output) for each bin, 1 for a
/// perfect match.
fn by_evidence(activity: &Array3<f64>, expected: Option<&[Array2<f64>]>) -> Array2<usize> {
    let candidates = permutations(activity.len_of(Axis(1)));
    let of_weight = |far_weight| {
        let order = ordered(activity, &candidates, far_weight, expected);
        (agreement(activity, &order, expected), order)
    };
    let [more, less] = FAR_WEIGHTS;
    let (one, other) = rayon::join(|| of_weight(more), || of_weight(less));
    if other.0 > one.0 { other.1 } else { one.1 }
}

/// Bins change their order one by one, as the bins around them and their harmonics ask.
fn settle(
    order: &mut Array2<usize>,
    activity: &Array3<f64>,
    candidates: &[Vec<usize>],
    expected: Option<&[Array2<f64>]>,
) {
    let (n_bins, n, n_frames) = activity.dim();
    for _ in 0..ROUNDS {
        let changed = reassign(order, |bin, order| {
            let mut sum = Array2::<f64>::zeros((n, n_frames));
            for other in around(bin, n_bins, CLOSE) {
                for (source, mut row) in sum.rows_mut().into_iter().enumerate() {
                    row += &activity.slice(s![other, order[[other, source]], ..]);
                }
            }
            let mut scores = products(sum.view(), activity.index_axis(Axis(0), bin));
            if let Some(expected) = expected {
                scores.scaled_add(weight_of_known(CLOSE), &expected[bin]);
            }
            best_by(candidates, &scores)
        });
        if !changed {
            break;
        }
    }
}

/// How much every bin agrees with those around it and, as if that were as many again, with the mean of all.
fn agreement(activity: &Array3<f64>, order: &Array2<usize>, expected: Option<&[Array2<f64>]>) -> f64 {
    let (n_bins, n, n_frames) = activity.dim();
    let output = |bin: usize, source: usize| activity.slice(s![bin, order[[bin, source]], ..]);
    let mut mean = Array2::<f64>::zeros((n, n_frames));
    for bin in 0..n_bins {
        for (source, mut row) in mean.rows_mut().into_iter().enumerate() {
            row += &output(bin, source);
        }
    }
    mean *= WIDE as f64 / n_bins.max(1) as f64;
    let of_bin = |bin: usize| -> f64 {
        let of_source = |source: usize| {
            let here = output(bin, source);
            let near = around(bin, n_bins, WIDE).map(|other| here.dot(&output(other, source)));
            let known = expected.map_or(0.0, |expected| expected[bin][[source, order[[bin, source]]]]);
            near.sum::<f64>() + here.dot(&mean.row(source)) + weight_of_known(WIDE) * known
        };
        (0..n).map(of_source).sum()
    };
    let bins: Vec<f64> = (0..n_bins).into_par_iter().map(of_bin).collect();
    bins.iter().sum()
}

/// Bins at half and double the frequency that speak for the order of one bin.
const HARMONICS: usize = 5;

/// Neighbours at most `reach` bins away, and bins at about half and double the frequency.
fn around(bin: usize, n_bins: usize, reach: usize) -> impl Iterator<Item = usize> {
    let near = bin.saturating_sub(reach)..(bin + reach + 1).min(n_bins);
    let harmonics: [usize; HARMONICS] =
        [bin / 2, bin / 2 + 1, 2 * bin, (2 * bin).saturating_sub(1), 2 * bin + 1];
    let harmonics = harmonics.into_iter().filter(move |&other| other < n_bins && other > 0);
    near.chain(harmonics).filter(move |&other| other != bin)
}

/// The weight of what is known of a bin's sources beside as many bins as there are [`around`] it.
fn weight_of_known(reach: usize) -> f64 {
    KNOWN_SHARE * (2 * reach + HARMONICS) as f64
}

/// Power ratios of all outputs, each with mean 0 and norm 1 over frames (0 where a bin is silent).
pub(crate) fn activities(power: ArrayView3<'_, f64>) -> Array3<f64> {
    let mut activity = power.to_owned();
    activity.outer_iter_mut().into_par_iter().for_each(|mut bin| {
        for mut frame in bin.columns_mut() {
            let sum = frame.sum();
            if sum > 0.0 {
                frame /= sum;
            }
        }
        for mut output in bin.rows_mut() {
            let mean = output.mean().unwrap_or(0.0);
            output -= mean;
            let norm = output.dot(&output).sqrt();
            if norm > 0.0 {
                output /= norm;
            }
        }
    });
    activity
}

/// Groups of bins that agree in the order of their outputs, joined until one is left.
///
/// Two groups are compared by the correlations of all neighbouring and harmonic bins across them, and a little by that of
/// all bins across them: the surest pair, whose best order is the furthest above its second best, joins first.
struct Groups<'a> {
    candidates: &'a [Vec<usize>],
    far_weight: f64,
    /// Outputs of every bin as the sources of its group, (bins, sources).
    order: Array2<usize>,
    /// Sums of the activities of a group's bins, (sources, frames) each.
    sums: Vec<Array2<f64>>,
    /// The bins of a group; none once it has joined another.
    bins: Vec<Vec<usize>>,
    /// For each group, the groups it touches: sums of correlations, (its sources, their sources).
    links: Vec<BTreeMap<usize, Array2<f64>>>,
    /// The group of the sources that are known: their order stands.
    known: Option<usize>,
}

/// Two groups that may join, the surest first.
#[derive(PartialEq)]
struct Pair {
    margin: f64,
    groups: (usize, usize),
}

impl Eq for Pair {}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.margin.total_cmp(&other.margin).then(other.groups.cmp(&self.groups))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Groups<'a> {
    /// Every bin is a group.
    fn new(
        activity: &Array3<f64>,
        candidates: &'a [Vec<usize>],
        far_weight: f64,
        expected: Option<&[Array2<f64>]>,
    ) -> Self {
        let (n_bins, n, n_frames) = activity.dim();
        let order = Array2::from_shape_fn((n_bins, n), |(_, source)| source);
        let mut sums: Vec<Array2<f64>> = activity.outer_iter().map(|bin| bin.to_owned()).collect();
        let mut bins: Vec<Vec<usize>> = (0..n_bins).map(|bin| vec![bin]).collect();
        let mut links = vec![BTreeMap::new(); n_bins];
        for bin in 0..n_bins {
            for other in around(bin, n_bins, NEAR).filter(|&other| other > bin) {
                let link = products(sums[bin].view(), sums[other].view());
                links[other].insert(bin, link.t().to_owned());
                links[bin].insert(other, link);
            }
        }
        if let Some(expected) = expected {
            // the sources as they are known: a group without a bin, which touches all
            let mut of_known = BTreeMap::new();
            for (bin, link) in expected.iter().enumerate() {
                let link = link * weight_of_known(NEAR);
                links[bin].insert(n_bins, link.t().to_owned());
                of_known.insert(bin, link);
            }
            links.push(of_known);
            sums.push(Array2::zeros((n, n_frames)));
            bins.push(Vec::new());
        }
        Self { candidates, far_weight, order, sums, bins, links, known: expected.map(|_| n_bins) }
    }

    /// The order of every bin, (bins, sources), once all agree.
    fn join(mut self) -> Array2<usize> {
        let mut pairs: BinaryHeap<Pair> = BinaryHeap::new();
        for (group, links) in self.links.iter().enumerate() {
            let later = links.keys().filter(|&&other| other > group);
            pairs.extend(later.map(|&other| self.pair(group, other)));
        }
        while let Some(pair) = pairs.pop() {
            let (mut into, mut from) = pair.groups;
            // one of them has joined another group meanwhile
            if !self.links[into].contains_key(&from) {
                continue;
            }
            // or has grown: what was sure may not be any more
            let now = self.pair(into, from);
            if now.margin < pair.margin {
                pairs.push(now);
                continue;
            }
            let is_turned = self.bins[into].len() < self.bins[from].len();
            if self.known == Some(from) || self.known != Some(into) && is_turned {
                (into, from) = (from, into);
            }
            let best = best_by(self.candidates, &self.scores(into, from));
            for bin in std::mem::take(&mut self.bins[from]) {
                let old = self.order.row(bin).to_vec();
                best.iter().enumerate().for_each(|(source, &output)| self.order[[bin, source]] = old[output]);
                self.bins[into].push(bin);
            }
            let sum = std::mem::take(&mut self.sums[from]).select(Axis(0), &best);
            self.sums[into] += &sum;
            self.links[into].remove(&from);
            for (other, link) in std::mem::take(&mut self.links[from]) {
                self.links[other].remove(&from);
                if other == into {
                    continue;
                }
                let link = link.select(Axis(0), &best);
                let sum = self.links[into].entry(other).or_insert_with(|| Array2::zeros(link.dim()));
                *sum += &link;
                let turned = sum.t().to_owned();
                self.links[other].insert(into, turned);
                pairs.push(self.pair(into.min(other), into.max(other)));
            }
        }
        self.order
    }

    /// How well the outputs of two groups that touch fit, (sources of the one, sources of the other).
    fn scores(&self, one: usize, other: usize) -> Array2<f64> {
        &self.links[one][&other]
            + &(self.far_weight * products(self.sums[one].view(), self.sums[other].view()))
    }

    fn pair(&self, one: usize, other: usize) -> Pair {
        Pair { margin: margin(self.candidates, &self.scores(one, other)), groups: (one, other) }
    }
}

/// The sum of `scores[[source, output]]` over an order.
fn total(scores: &Array2<f64>, order: &[usize]) -> f64 {
    order.iter().enumerate().map(|(source, &output)| scores[[source, output]]).sum()
}

/// How far the best permutation is above the second best; above the mean where there are too many to try.
pub(crate) fn margin(candidates: &[Vec<usize>], scores: &Array2<f64>) -> f64 {
    if candidates.is_empty() {
        return total(scores, &greedy(scores)) - scores.sum() / scores.nrows() as f64;
    }
    let (mut best, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for score in candidates.iter().map(|order| total(scores, order)) {
        if score > best {
            (best, second) = (score, best);
        } else if score > second {
            second = score;
        }
    }
    best - second
}

/// Asks for the order of every bin once; tells whether any changed.
fn reassign(order: &mut Array2<usize>, choose: impl Fn(usize, &Array2<usize>) -> Vec<usize>) -> bool {
    let mut changed = false;
    for bin in 0..order.nrows() {
        let best = choose(bin, order);
        if order.row(bin).iter().ne(&best) {
            changed = true;
            order.row_mut(bin).iter_mut().zip(&best).for_each(|(old, new)| *old = *new);
        }
    }
    changed
}

/// The output of every source for which the sum of `scores[[source, output]]` is highest.
pub fn assign(scores: &Array2<f64>) -> Vec<usize> {
    best_by(&permutations(scores.nrows()), scores)
}

/// The permutation with the highest sum of `scores[[source, output]]`; the first of equals.
pub(crate) fn best_by(candidates: &[Vec<usize>], scores: &Array2<f64>) -> Vec<usize> {
    if candidates.is_empty() {
        return greedy(scores);
    }
    let mut best = (f64::NEG_INFINITY, 0);
    for (k, order) in candidates.iter().enumerate() {
        let score = total(scores, order);
        if score > best.0 {
            best = (score, k);
        }
    }
    candidates[best.1].clone()
}

/// Permutations of so many outputs are enumerated; more are assigned one by one, the surest first.
const ENUMERATED: usize = 6;

pub(crate) fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n > ENUMERATED {
        return Vec::new();
    }
    let mut all = vec![Vec::new()];
    for _ in 0..n {
        all = all
            .into_iter()
            .flat_map(|begun: Vec<usize>| {
                let open: Vec<usize> = (0..n).filter(|k| !begun.contains(k)).collect();
                open.into_iter().map(move |k| [&begun[..], &[k]].concat())
            })
            .collect();
    }
    all
}

fn greedy(scores: &Array2<f64>) -> Vec<usize> {
    let n = scores.nrows();
    let mut order = vec![usize::MAX; n];
    let mut taken = vec![false; n];
    for _ in 0..n {
        let mut best = (f64::NEG_INFINITY, 0, 0);
        for source in (0..n).filter(|&s| order[s] == usize::MAX) {
            for output in (0..n).filter(|&o| !taken[o]) {
                if scores[[source, output]] > best.0 {
                    best = (scores[[source, output]], source, output);
                }
            }
        }
        order[best.1] = best.2;
        taken[best.2] = true;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    fn uniform(rng: &mut ChaCha8Rng) -> f64 {
        rng.next_u64() as f64 / u64::MAX as f64
    }

    #[test]
    fn shuffled_bins_are_put_in_order_again() {
        let (n_bins, n, frames) = (200, 3, 120);
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        // each source has its own envelope; bins have it times noise and a level
        let envelope =
            Array2::from_shape_fn((n, frames), |_| if uniform(&mut rng) < 0.4 { 1.0 } else { 0.05 });
        let candidates = permutations(n);
        let mut truth = Vec::new();
        let mut power = Array3::zeros((n_bins, n, frames));
        for bin in 0..n_bins {
            let order = candidates[rng.next_u64() as usize % candidates.len()].clone();
            for (output, &source) in order.iter().enumerate() {
                for j in 0..frames {
                    power[[bin, output, j]] =
                        envelope[[source, j]] * -uniform(&mut rng).ln() / (1 + bin) as f64;
                }
            }
            truth.push(order);
        }
        let found = by_activity(power.view(), None);
        // the names of the sources are free: what counts is one name for each over all bins
        let name = |bin: usize, source: usize| truth[bin][found[[bin, source]]];
        for bin in 1..n_bins {
            for source in 0..n {
                assert_eq!(name(bin, source), name(0, source), "bin {bin}");
            }
        }
    }

    #[test]
    fn activities_that_drift_over_frequency_are_followed() {
        // bins far apart have nothing in common, neighbours much: no centroid over all bins says anything
        let (n_bins, n, frames, spacing) = (1500, 2, 100, 15);
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let on = |rng: &mut ChaCha8Rng| if uniform(rng) < 0.4 { 1.0 } else { 0.02 };
        let knots = Array3::from_shape_simple_fn((n_bins / spacing + 1, n, frames), || on(&mut rng));
        let mut truth = Vec::new();
        let mut power = Array3::zeros((n_bins, n, frames));
        for bin in 0..n_bins {
            let swapped = usize::from(uniform(&mut rng) < 0.5);
            truth.push(swapped);
            let (knot, share) = (bin / spacing, (bin % spacing) as f64 / spacing as f64);
            for output in 0..n {
                let source = output ^ swapped;
                for j in 0..frames {
                    let envelope =
                        (1.0 - share) * knots[[knot, source, j]] + share * knots[[knot + 1, source, j]];
                    power[[bin, output, j]] = envelope * -uniform(&mut rng).ln();
                }
            }
        }
        let found = by_activity(power.view(), None);
        let as_first = |bin: usize| (truth[bin] ^ found[[bin, 0]]) == (truth[0] ^ found[[0, 0]]);
        let right = (0..n_bins).filter(|&bin| as_first(bin)).count();
        assert!(right > 1450, "{right} of {n_bins}");
    }

    #[test]
    fn what_is_known_of_the_sources_orders_bands_that_have_nothing_in_common() {
        // two bands, each with envelopes of its own and neither with harmonics in the other: nothing but a poor guess of
        // each source's power tells which output of the one band goes with which of the other
        let (n_bins, n, frames, split) = (240, 2, 200, 160);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let envelope =
            Array3::from_shape_simple_fn((2, n, frames), || if uniform(&mut rng) < 0.4 { 1.0 } else { 0.02 });
        let mut truth = Vec::new();
        let mut power = Array3::zeros((n_bins, n, frames));
        let mut guess = Array3::zeros((n_bins, n, frames));
        for bin in 0..n_bins {
            // harmonics link the bands: half of 160 .. 240 lies in the lower one, so those are silent
            let loud = f64::from(u8::from(bin < split / 2 || bin >= split));
            let swapped = usize::from(uniform(&mut rng) < 0.5);
            truth.push(swapped);
            for j in 0..frames {
                for source in 0..n {
                    let own = envelope[[usize::from(bin >= split), source, j]];
                    power[[bin, source ^ swapped, j]] = loud * own * -uniform(&mut rng).ln();
                    // mostly noise
                    guess[[bin, source, j]] = 0.2 * own - uniform(&mut rng).ln();
                }
            }
        }
        let right = |order: &Array2<usize>, bins: std::ops::Range<usize>| {
            bins.filter(|&bin| order[[bin, 0]] == truth[bin]).count()
        };
        let order = by_activity(power.view(), Some(guess.view()));
        assert!(right(&order, 0..split / 2) >= 79, "{}", right(&order, 0..split / 2));
        assert!(right(&order, split..n_bins) >= 79, "{}", right(&order, split..n_bins));
        // the guess names the sources, too: without it the names are those of chance
        let (mut turned, swap) = (guess.clone(), [1, 0]);
        (0..n).for_each(|source| {
            turned.index_axis_mut(Axis(1), source).assign(&guess.index_axis(Axis(1), swap[source]));
        });
        let order = by_activity(power.view(), Some(turned.view()));
        assert!(right(&order, split..n_bins) <= 1);
    }

    #[test]
    fn as_many_bins_as_there_are() {
        // one output has one order, and so have bins of silence and a spectrum of one bin
        assert_eq!(by_activity(Array3::ones((5, 1, 7)).view(), None), Array2::<usize>::zeros((5, 1)));
        let order = by_activity(Array3::zeros((4, 3, 6)).view(), None);
        assert!(order.rows().into_iter().all(|row| (0..3).all(|n| row.iter().any(|&o| o == n))));
        assert_eq!(by_activity(Array3::ones((1, 2, 3)).view(), None).dim(), (1, 2));
        assert_eq!(by_activity(Array3::ones((0, 2, 3)).view(), None).dim(), (0, 2));
    }

    #[test]
    fn many_outputs_are_assigned_one_by_one() {
        let scores = Array2::from_shape_fn((8, 8), |(s, o)| if o == (s + 3) % 8 { 1.0 } else { 0.1 });
        assert_eq!(best_by(&permutations(8), &scores), vec![3, 4, 5, 6, 7, 0, 1, 2]);
    }
}
