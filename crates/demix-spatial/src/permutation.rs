//! Which output of a bin is which source: the permutation that frequency-domain ICA leaves open.
//!
//! - [`by_activity`]: outputs of one source are loud at the same times in all bins. Power ratios
//!   |y_n|^2 / sum_n |y_n|^2 of aligned bins are compared by correlation, first with centroids over all bins, then with
//!   neighbouring and harmonic bins: Sawada, Araki and Makino 2011.
//! - [`by_direction`]: outputs of one source arrive from one direction; needs the positions of the microphones: Saruwatari
//!   et al. 2003, Sawada et al. 2004.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;

use crate::matrix::C64;

/// Rounds over all bins at the most; an alignment settles within about ten.
const ROUNDS: usize = 50;

/// The permutation of every bin by amplitude correlation: `order[[bin, n]]` is the output that is source n.
///
/// `power` is |a_n y_n|^2 of the outputs at the scale of a microphone, (bins, sources, frames).
pub fn by_activity(power: ArrayView3<'_, f64>) -> Array2<usize> {
    let (n_bins, n, _) = power.dim();
    let mut order = Array2::from_shape_fn((n_bins, n), |(_, source)| source);
    if n < 2 {
        return order;
    }
    let activity = activities(power);
    let candidates = permutations(n);
    // centroids grow from the strongest bin outwards, so that the first rounds already agree
    let strength: Vec<f64> = power.outer_iter().map(|bin| bin.sum()).collect();
    let mut by_strength: Vec<usize> = (0..n_bins).collect();
    by_strength.sort_by(|&a, &b| strength[b].total_cmp(&strength[a]).then(a.cmp(&b)));
    let mut sum = Array2::<f64>::zeros((n, power.len_of(Axis(2))));
    for &bin in &by_strength {
        let best = best_of(&candidates, activity.index_axis(Axis(0), bin), sum.view());
        for (source, &output) in best.iter().enumerate() {
            order[[bin, source]] = output;
            let mut row = sum.row_mut(source);
            row += &activity.slice(ndarray::s![bin, output, ..]);
        }
    }
    for _ in 0..ROUNDS {
        let centroids = centroids(&activity, &order);
        if !reassign(&mut order, |bin, _| {
            best_of(&candidates, activity.index_axis(Axis(0), bin), centroids.view())
        }) {
            break;
        }
    }
    for _ in 0..ROUNDS {
        // neighbours within three bins, and half and double the frequency with a neighbour each
        let changed = reassign(&mut order, |bin, order| {
            let near = (bin.saturating_sub(3)..(bin + 4).min(n_bins)).filter(|&other| other != bin);
            let harmonics = [bin / 2, bin / 2 + 1, 2 * bin, (2 * bin).saturating_sub(1), 2 * bin + 1];
            let harmonics =
                harmonics.into_iter().filter(|&other| other != bin && other < n_bins && other > 0);
            let mut sum = Array2::<f64>::zeros(activity.index_axis(Axis(0), 0).dim());
            for other in near.chain(harmonics) {
                for source in 0..n {
                    let mut row = sum.row_mut(source);
                    row += &activity.slice(ndarray::s![other, order[[other, source]], ..]);
                }
            }
            best_of(&candidates, activity.index_axis(Axis(0), bin), sum.view())
        });
        if !changed {
            break;
        }
    }
    order
}

/// Power ratios of all outputs, each with mean 0 and norm 1 over frames (0 where a bin is silent).
fn activities(power: ArrayView3<'_, f64>) -> Array3<f64> {
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

fn centroids(activity: &Array3<f64>, order: &Array2<usize>) -> Array2<f64> {
    let (_, n, frames) = activity.dim();
    let mut centroids = Array2::zeros((n, frames));
    for (bin, order) in activity.outer_iter().zip(order.rows()) {
        for (source, &output) in order.iter().enumerate() {
            let mut row = centroids.row_mut(source);
            row += &bin.row(output);
        }
    }
    centroids
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

/// The permutation whose outputs correlate most with the targets, (sources, frames).
fn best_of(
    candidates: &[Vec<usize>],
    outputs: ArrayView2<'_, f64>,
    targets: ArrayView2<'_, f64>,
) -> Vec<usize> {
    let n = outputs.nrows();
    let scores =
        Array2::from_shape_fn((n, n), |(source, output)| targets.row(source).dot(&outputs.row(output)));
    best_by(candidates, &scores)
}

/// The output of every source for which the sum of `scores[[source, output]]` is highest.
pub(crate) fn assign(scores: &Array2<f64>) -> Vec<usize> {
    best_by(&permutations(scores.nrows()), scores)
}

/// The permutation with the highest sum of `scores[[source, output]]`; the first of equals.
fn best_by(candidates: &[Vec<usize>], scores: &Array2<f64>) -> Vec<usize> {
    let total = |order: &[usize]| -> f64 { order.iter().enumerate().map(|(s, &o)| scores[[s, o]]).sum() };
    if candidates.is_empty() {
        return greedy(scores);
    }
    let mut best = (f64::NEG_INFINITY, 0);
    for (k, order) in candidates.iter().enumerate() {
        let score = total(order);
        if score > best.0 {
            best = (score, k);
        }
    }
    candidates[best.1].clone()
}

/// Permutations of so many outputs are enumerated; more are assigned one by one, the surest first.
const ENUMERATED: usize = 6;

fn permutations(n: usize) -> Vec<Vec<usize>> {
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

/// Metres per second in air at 20 degrees Celsius.
const SPEED_OF_SOUND: f64 = 343.0;

/// The permutation of every bin by direction of arrival: `order[[bin, n]]` is the output that is source n; sources are
/// ordered by the cosine of their angle to the line from the first to the last microphone, from -1 to 1.
///
/// `mixing` (bins, channels, sources), `frequencies` of the bins in Hz, `positions` of the microphones in metres along
/// their line. Bins whose outputs have no clear directions (below the first with a phase, above spatial aliasing) take the
/// order that fits the others best.
pub fn by_direction(mixing: ArrayView3<'_, C64>, frequencies: &[f64], positions: &[f64]) -> Array2<usize> {
    let (n_bins, n_channels, n) = mixing.dim();
    let mut order = Array2::from_shape_fn((n_bins, n), |(_, source)| source);
    let aperture = positions.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x))
        - positions.iter().fold(f64::INFINITY, |m, x| m.min(*x));
    if n < 2 || n_channels < 2 || aperture <= 0.0 {
        return order;
    }
    // unambiguous below half a wavelength
    let aliasing = SPEED_OF_SOUND / (2.0 * aperture);
    let usable: Vec<usize> = (0..n_bins)
        .filter(|&bin| frequencies[bin] > 0.1 * aliasing && frequencies[bin] < 0.9 * aliasing)
        .collect();
    // the directions: the median over usable bins of the sorted cosines
    let mut cosines = vec![Vec::new(); n];
    for &bin in &usable {
        let mut of_bin: Vec<f64> =
            (0..n).map(|output| cosine(mixing, bin, output, frequencies[bin], positions)).collect();
        of_bin.sort_by(f64::total_cmp);
        cosines.iter_mut().zip(of_bin).for_each(|(all, cosine)| all.push(cosine));
    }
    let directions: Vec<f64> = cosines
        .iter_mut()
        .map(|all| {
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        })
        .collect();
    let candidates = permutations(n);
    for bin in 0..n_bins {
        // the match of a plane wave from each direction with each column: aliasing does no harm here
        let scores = Array2::from_shape_fn((n, n), |(source, output)| {
            let (mut sum, mut norm) = (C64::new(0.0, 0.0), 0.0);
            for (channel, position) in positions.iter().enumerate() {
                let a = mixing[[bin, channel, output]];
                let phase =
                    std::f64::consts::TAU * frequencies[bin] * position * directions[source] / SPEED_OF_SOUND;
                let length = a.norm().max(f64::MIN_POSITIVE);
                // magnitudes tell of the room, phases of the direction
                sum += a / length * C64::from_polar(1.0, -phase);
                norm += 1.0;
            }
            sum.norm() / norm
        });
        order.row_mut(bin).iter_mut().zip(best_by(&candidates, &scores)).for_each(|(old, new)| *old = new);
    }
    order
}

/// The cosine of the angle of an output's column, by least squares over neighbouring microphones.
fn cosine(mixing: ArrayView3<'_, C64>, bin: usize, output: usize, frequency: f64, positions: &[f64]) -> f64 {
    let (mut product, mut square) = (0.0, 0.0);
    for c in 1..positions.len() {
        let phase = (mixing[[bin, c, output]] * mixing[[bin, c - 1, output]].conj()).arg();
        let distance = positions[c] - positions[c - 1];
        product += phase * distance;
        square += std::f64::consts::TAU * frequency * distance * distance / SPEED_OF_SOUND;
    }
    (product / square).clamp(-1.0, 1.0)
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
        let found = by_activity(power.view());
        // the names of the sources are free: what counts is one name for each over all bins
        let name = |bin: usize, source: usize| truth[bin][found[[bin, source]]];
        for bin in 1..n_bins {
            for source in 0..n {
                assert_eq!(name(bin, source), name(0, source), "bin {bin}");
            }
        }
    }

    #[test]
    fn plane_waves_are_ordered_by_direction_beyond_aliasing() {
        let positions = [0.0, 0.0566];
        let frequencies: Vec<f64> = (0..513).map(|bin| bin as f64 * 16000.0 / 1024.0).collect();
        let directions = [-0.7, 0.4];
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut truth = Vec::new();
        let mut mixing = Array3::zeros((513, 2, 2));
        for (bin, f) in frequencies.iter().enumerate() {
            let swapped = usize::from(uniform(&mut rng) < 0.5);
            truth.push(swapped);
            for output in 0..2 {
                let turn = C64::from_polar(1.0, uniform(&mut rng) * 6.0);
                for (channel, x) in positions.iter().enumerate() {
                    let phase = std::f64::consts::TAU * f * x * directions[output ^ swapped] / SPEED_OF_SOUND;
                    mixing[[bin, channel, output]] = turn * C64::from_polar(0.5 + uniform(&mut rng), phase);
                }
            }
        }
        let found = by_direction(mixing.view(), &frequencies, &positions);
        let right = (4..513).filter(|&bin| found[[bin, 0]] == truth[bin]).count();
        // around multiples of c / (d * 1.1) both directions have the same phases
        assert!(right > 480, "{right} of 509");
    }

    #[test]
    fn many_outputs_are_assigned_one_by_one() {
        let scores = Array2::from_shape_fn((8, 8), |(s, o)| if o == (s + 3) % 8 { 1.0 } else { 0.1 });
        assert_eq!(best_by(&permutations(8), &scores), vec![3, 4, 5, 6, 7, 0, 1, 2]);
    }
}
