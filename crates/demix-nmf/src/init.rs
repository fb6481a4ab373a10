//! Where the iterations start.

use demix_signal::Real;
use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{Init, NmfError};

/// A generator whose values are the same in every version and on every machine.
///
/// `stream` separates uses of one seed.
pub(crate) fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

/// A number in (0, 1].
fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    ((generator.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Factors (bins, components) and (components, frames): random ones for a V of this shape and mean 1, singular
/// vectors for this V.
///
/// # Errors
/// NNDSVDa with more components than V has rows or columns.
pub(crate) fn start<T: Real>(
    init: Init,
    v: ArrayView2<'_, T>,
    components: usize,
    seed: u64,
    restart: usize,
) -> Result<(Array2<T>, Array2<T>), NmfError> {
    let (bins, frames) = v.dim();
    let mut random = generator(seed, restart as u64);
    let (offset, mean) = match init {
        Init::Nndsvda => return nndsvda(v, components, &mut random),
        Init::Random => (0.0, 0.25),
        Init::Lecture => (1.0, 2.25),
    };
    // the model's mean is K times the mean of a product of two entries
    let scale = 1.0 / (components as f64 * mean);
    let dictionary =
        Array2::from_shape_simple_fn((bins, components), || T::of(offset + uniform(&mut random)));
    let activations =
        Array2::from_shape_simple_fn((components, frames), || T::of(scale * (offset + uniform(&mut random))));
    Ok((dictionary, activations))
}

/// Random dictionary columns and activations, as [`start`] makes them, for a dictionary that is partly given.
pub(crate) fn random_columns<T: Real>(
    bins: usize,
    components: usize,
    seed: u64,
    restart: usize,
) -> Array2<T> {
    let mut random = generator(seed, (1 << 32) + restart as u64);
    Array2::from_shape_simple_fn((bins, components), || T::of(uniform(&mut random)))
}

/// Random activations whose model has mean `level` when the columns of the dictionary sum to one.
pub(crate) fn random_activations<T: Real>(
    components: usize,
    (bins, frames): (usize, usize),
    level: f64,
    seed: u64,
    restart: usize,
) -> Array2<T> {
    let mut random = generator(seed, (2 << 32) + restart as u64);
    let scale = 2.0 * level * bins as f64 / components as f64;
    Array2::from_shape_simple_fn((components, frames), || T::of(scale * uniform(&mut random)))
}

/// Entries of a singular vector below this share of its largest are rounding.
const ROUNDING: f64 = 1e-12;

/// Factors (bins, components) and (components, frames) from the singular vectors of V (bins, frames), zeros filled with
/// the mean of V (Boutsidis and Gallopoulos 2008, algorithm 2 and variant NNDSVDa). The generator begins the search
/// for the vectors: where a singular value stands out from the next, another one gives nearly the same factors.
///
/// # Errors
/// More components than V has rows or columns.
pub fn nndsvda<T: Real>(
    v: ArrayView2<'_, T>,
    components: usize,
    random: &mut ChaCha8Rng,
) -> Result<(Array2<T>, Array2<T>), NmfError> {
    let (bins, frames) = v.dim();
    if components > bins.min(frames) {
        return Err(NmfError::InitRank { components, bins, frames });
    }
    let (u, s, vt) = truncated_svd(v, components, random);
    let mut dictionary = Array2::zeros((bins, components));
    let mut activations = Array2::zeros((components, frames));
    // what is but rounding is zero, whatever its sign
    let part = |x: &Array1<f64>, sign: f64| {
        let least = ROUNDING * x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        x.mapv(|x| if sign * x > least { sign * x } else { 0.0 })
    };
    let norm = |x: &Array1<f64>| x.dot(x).sqrt();
    for k in 0..components {
        let (left, right) = (u.column(k).to_owned(), vt.row(k).to_owned());
        // the larger of the two products of parts of one sign
        let (plus, minus) = ((part(&left, 1.0), part(&right, 1.0)), (part(&left, -1.0), part(&right, -1.0)));
        let weight = |(a, b): &(Array1<f64>, Array1<f64>)| norm(a) * norm(b);
        let (a, b) = if weight(&plus) >= weight(&minus) { plus } else { minus };
        let (na, nb) = (norm(&a), norm(&b));
        if na * nb > 0.0 {
            let scale = (s[k] * na * nb).sqrt();
            dictionary.column_mut(k).assign(&a.mapv(|x| T::of(scale * x / na)));
            activations.row_mut(k).assign(&b.mapv(|x| T::of(scale * x / nb)));
        }
    }
    let mean = T::of(v.iter().map(|x| x.to_double()).sum::<f64>() / v.len() as f64);
    let fill = |x: T| if x > T::ZERO { x } else { mean };
    dictionary.mapv_inplace(fill);
    activations.mapv_inplace(fill);
    Ok((dictionary, activations))
}

/// The leading singular triplets by subspace iteration from a random start
/// (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1): U (rows, rank), s, V^T (rank, columns).
fn truncated_svd<T: Real>(
    v: ArrayView2<'_, T>,
    rank: usize,
    random: &mut ChaCha8Rng,
) -> (Array2<f64>, Vec<f64>, Array2<f64>) {
    const OVERSAMPLING: usize = 10;
    const POWER_ITERATIONS: usize = 6;
    let size = (rank + OVERSAMPLING).min(v.nrows()).min(v.ncols());
    let probe = Array2::from_shape_simple_fn((v.ncols(), size), || uniform(random) - 0.5);
    let mut basis = orthonormal(times(v, probe.view()));
    for _ in 0..POWER_ITERATIONS {
        let back = orthonormal(transposed_times(v, basis.view()));
        basis = orthonormal(times(v, back.view()));
    }
    let small = transposed_times(v, basis.view()); // (columns, size)
    let gram = transposed_times(small.view(), small.view());
    let eigen = SymmetricEigen::new(DMatrix::from_fn(size, size, |i, j| gram[[i, j]]));
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let rotation = Array2::from_shape_fn((size, rank), |(i, k)| eigen.eigenvectors[(i, order[k])]);
    let s: Vec<f64> = order[..rank].iter().map(|&k| eigen.eigenvalues[k].max(0.0).sqrt()).collect();
    let u = times(basis.view(), rotation.view());
    let mut vt = times(small.view(), rotation.view()).reversed_axes();
    for (mut row, &s) in vt.outer_iter_mut().zip(&s) {
        row.mapv_inplace(|x| if s > 0.0 { x / s } else { 0.0 });
    }
    (u, s, vt)
}

/// Rows of a product that one task makes.
const TASK_ROWS: usize = 64;

/// V X, summed in one order: the same bytes on every machine and for any number of threads, and no copy of V.
fn times<T: Real>(v: ArrayView2<'_, T>, x: ArrayView2<'_, f64>) -> Array2<f64> {
    product(v.nrows(), x.ncols(), |rows, out| {
        for (row, out) in v.slice(s![rows, ..]).outer_iter().zip(out.chunks_exact_mut(x.ncols())) {
            for (&v, x) in row.iter().zip(x.outer_iter()) {
                add(v.to_double(), x, out);
            }
        }
    })
}

/// V^T X; see [`times`].
fn transposed_times<T: Real>(v: ArrayView2<'_, T>, x: ArrayView2<'_, f64>) -> Array2<f64> {
    product(v.ncols(), x.ncols(), |rows, out| {
        for (row, x) in v.slice(s![.., rows]).outer_iter().zip(x.outer_iter()) {
            for (&v, out) in row.iter().zip(out.chunks_exact_mut(x.len())) {
                add(v.to_double(), x, out);
            }
        }
    })
}

/// (rows, columns), a range of rows at a time.
fn product(
    n_rows: usize,
    n_columns: usize,
    fill: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync,
) -> Array2<f64> {
    let mut out = vec![0.0; n_rows * n_columns];
    out.par_chunks_mut((TASK_ROWS * n_columns).max(1)).enumerate().for_each(|(task, out)| {
        let first = task * TASK_ROWS;
        fill(first..n_rows.min(first + TASK_ROWS), out);
    });
    Array2::from_shape_vec((n_rows, n_columns), out).expect("the shape has as many numbers")
}

/// out += v x.
fn add(v: f64, x: ArrayView1<'_, f64>, out: &mut [f64]) {
    out.iter_mut().zip(x).for_each(|(out, &x)| *out += v * x);
}

/// An orthonormal basis of the columns, by Gram and Schmidt, twice for rounding; dependent columns become zero.
fn orthonormal(mut columns: Array2<f64>) -> Array2<f64> {
    for k in 0..columns.ncols() {
        let (done, mut rest) = columns.view_mut().split_at(Axis(1), k);
        let mut column = rest.column_mut(0);
        let before = column.dot(&column).sqrt();
        for _ in 0..2 {
            let shares = done.t().dot(&column);
            column -= &done.dot(&shares);
        }
        let norm = column.dot(&column).sqrt();
        let scale = if norm > 1e-12 * before { 1.0 / norm } else { 0.0 };
        column.mapv_inplace(|x| x * scale);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(rows: usize, columns: usize) -> Array2<f64> {
        let mut random = generator(3, 0);
        Array2::from_shape_simple_fn((rows, columns), || uniform(&mut random).powi(3))
    }

    #[test]
    fn truncated_svd_equals_the_full_one() {
        let v = noise(30, 22);
        let full = nalgebra::SVD::new(DMatrix::from_fn(30, 22, |i, j| v[[i, j]]), true, true);
        let (u, s, vt) = truncated_svd(v.view(), 5, &mut generator(0, 0));
        for k in 0..5 {
            assert!((s[k] - full.singular_values[k]).abs() < 1e-6 * full.singular_values[0], "{k}");
            let full_u = full.u.as_ref().unwrap().column(k).into_owned();
            let overlap: f64 = (0..30).map(|i| u[[i, k]] * full_u[i]).sum();
            assert!((overlap.abs() - 1.0).abs() < 1e-4, "{k}: {overlap}");
            assert!((vt.row(k).dot(&vt.row(k)) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn nndsvda_is_positive_and_its_first_component_is_the_best_of_rank_one() {
        let v = noise(20, 31);
        let (w, h) = start::<f64>(Init::Nndsvda, v.view(), 4, 0, 0).unwrap();
        assert!(w.iter().chain(&h).all(|&x| x > 0.0));
        let full = nalgebra::SVD::new(DMatrix::from_fn(20, 31, |i, j| v[[i, j]]), true, true);
        let s = full.singular_values[0];
        let (u, vt) = (full.u.unwrap(), full.v_t.unwrap());
        for i in 0..20 {
            for j in 0..31 {
                let best = s * u[(i, 0)] * vt[(0, j)];
                assert!((w[[i, 0]] * h[[0, j]] - best).abs() < 1e-6 * s);
            }
        }
        assert!(matches!(
            start::<f64>(Init::Nndsvda, v.view(), 21, 0, 0),
            Err(NmfError::InitRank { components: 21, bins: 20, frames: 31 })
        ));
    }

    #[test]
    fn random_starts_have_the_level_of_the_input() {
        for init in [Init::Random, Init::Lecture] {
            let (w, h) = start::<f64>(init, Array2::ones((200, 300)).view(), 20, 1, 0).unwrap();
            let mean = w.dot(&h).mean().unwrap();
            assert!((mean - 1.0).abs() < 0.1, "{init}: {mean}");
            let (other, _) = start::<f64>(init, Array2::ones((200, 300)).view(), 20, 1, 1).unwrap();
            assert_ne!(w, other);
        }
    }
}
