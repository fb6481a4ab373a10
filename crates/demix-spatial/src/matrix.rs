//! Small complex matrices in double precision, n x n, row by row in a slice.
//!
//! Sizes 2, 3 and 4 are compiled for their size ([`for_size!`]); larger ones run the same code.

use demix_signal::Complex;
use nalgebra::DMatrix;

/// A complex number in double precision.
pub type C64 = Complex<f64>;

pub(crate) const ZERO: C64 = C64::new(0.0, 0.0);
pub(crate) const ONE: C64 = C64::new(1.0, 0.0);

/// Runs `$body` with `$n` known to the compiler for the usual sizes.
macro_rules! for_size {
    ($n:ident, $body:expr) => {
        match $n {
            2 => {
                #[allow(unused_variables)]
                let $n = 2;
                $body
            }
            3 => {
                #[allow(unused_variables)]
                let $n = 3;
                $body
            }
            4 => {
                #[allow(unused_variables)]
                let $n = 4;
                $body
            }
            _ => $body,
        }
    };
}

/// The identity.
pub(crate) fn set_identity(n: usize, a: &mut [C64]) {
    a.fill(ZERO);
    for i in 0..n {
        a[i * n + i] = ONE;
    }
}

/// a b, all n x n.
pub(crate) fn multiply(n: usize, a: &[C64], b: &[C64], out: &mut [C64]) {
    for_size!(n, multiply_n(n, a, b, out));
}

#[inline(always)]
fn multiply_n(n: usize, a: &[C64], b: &[C64], out: &mut [C64]) {
    let (a, b, out) = (&a[..n * n], &b[..n * n], &mut out[..n * n]);
    for i in 0..n {
        for j in 0..n {
            let mut sum = ZERO;
            for k in 0..n {
                sum += a[i * n + k] * b[k * n + j];
            }
            out[i * n + j] = sum;
        }
    }
}

/// a u b^H for two rows a, b.
#[inline]
pub(crate) fn form(u: &[C64], a: &[C64], b: &[C64]) -> C64 {
    let n = a.len();
    let mut sum = ZERO;
    for i in 0..n {
        let mut row = ZERO;
        for j in 0..n {
            row += u[i * n + j] * b[j].conj();
        }
        sum += a[i] * row;
    }
    sum
}

/// Solves a x = b for `columns` right-hand sides by elimination with pivots; `a` is used up, `b` (n x columns, row by
/// row) becomes x. False when `a` is singular to working precision; b is then not meaningful.
#[must_use]
pub(crate) fn solve(n: usize, a: &mut [C64], columns: usize, b: &mut [C64]) -> bool {
    for_size!(n, solve_n(n, a, columns, b))
}

#[inline(always)]
fn solve_n(n: usize, a: &mut [C64], columns: usize, b: &mut [C64]) -> bool {
    let (a, b) = (&mut a[..n * n], &mut b[..n * columns]);
    for k in 0..n {
        let mut pivot = k;
        let mut largest = a[k * n + k].norm_sqr();
        for i in k + 1..n {
            let size = a[i * n + k].norm_sqr();
            if size > largest {
                (pivot, largest) = (i, size);
            }
        }
        if !(largest > f64::MIN_POSITIVE && largest.is_finite()) {
            return false;
        }
        if pivot != k {
            for j in k..n {
                a.swap(k * n + j, pivot * n + j);
            }
            for j in 0..columns {
                b.swap(k * columns + j, pivot * columns + j);
            }
        }
        let inverse = a[k * n + k].conj() / largest;
        for i in k + 1..n {
            let factor = a[i * n + k] * inverse;
            for j in k + 1..n {
                let product = factor * a[k * n + j];
                a[i * n + j] -= product;
            }
            for j in 0..columns {
                let product = factor * b[k * columns + j];
                b[i * columns + j] -= product;
            }
        }
    }
    for k in (0..n).rev() {
        let inverse = a[k * n + k].conj() / a[k * n + k].norm_sqr();
        for j in 0..columns {
            let mut x = b[k * columns + j];
            for i in k + 1..n {
                x -= a[k * n + i] * b[i * columns + j];
            }
            b[k * columns + j] = x * inverse;
        }
    }
    true
}

/// The inverse, or nothing when it does not exist in working precision.
pub(crate) fn inverse(n: usize, a: &[C64]) -> Option<Vec<C64>> {
    let mut work = a[..n * n].to_vec();
    let mut out = vec![ZERO; n * n];
    set_identity(n, &mut out);
    solve(n, &mut work, n, &mut out).then_some(out)
}

/// sum log |det a| of matrices that follow each other; minus infinity where one is singular.
pub(crate) fn sum_log_abs_det(n: usize, matrices: &[C64]) -> f64 {
    let matrices = matrices.chunks_exact(n * n);
    match n {
        2 => half_sum_of_logs(matrices.map(|a| (a[0] * a[3] - a[1] * a[2]).norm_sqr())),
        3 => half_sum_of_logs(matrices.map(|a| {
            let minor = |i: usize, j: usize| a[3 + i] * a[6 + j] - a[3 + j] * a[6 + i];
            (a[0] * minor(1, 2) + a[1] * minor(2, 0) + a[2] * minor(0, 1)).norm_sqr()
        })),
        _ => matrices.map(|a| log_abs_det(n, a)).sum(),
    }
}

/// (1/2) sum log x: one logarithm for as many numbers as their product has room for.
fn half_sum_of_logs(numbers: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut product) = (0.0, 1.0);
    for x in numbers {
        if !(1e-100..1e100).contains(&(product * x)) {
            sum += f64::ln(product);
            product = x;
        } else {
            product *= x;
        }
    }
    (sum + f64::ln(product)) / 2.0
}

/// log |det a|; minus infinity for a singular matrix.
pub(crate) fn log_abs_det(n: usize, a: &[C64]) -> f64 {
    let mut small = [ZERO; 16];
    let mut large;
    // small matrices live on the stack
    let a = if n <= 4 {
        small[..n * n].copy_from_slice(&a[..n * n]);
        &mut small[..]
    } else {
        large = a[..n * n].to_vec();
        &mut large[..]
    };
    let mut sum = 0.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i * n + k].norm_sqr().total_cmp(&a[j * n + k].norm_sqr()));
        let pivot = pivot.unwrap_or(k);
        for j in 0..n {
            a.swap(k * n + j, pivot * n + j);
        }
        let largest = a[k * n + k];
        sum += largest.norm_sqr().ln() / 2.0;
        if largest == ZERO {
            return f64::NEG_INFINITY;
        }
        for i in k + 1..n {
            let factor = a[i * n + k] / largest;
            for j in k..n {
                let product = factor * a[k * n + j];
                a[i * n + j] -= product;
            }
        }
    }
    sum
}

/// Eigenvalues, ascending, and eigenvectors (columns of a row-by-row matrix) of a Hermitian matrix.
pub(crate) fn hermitian_eigen(n: usize, a: &[C64]) -> (Vec<f64>, Vec<C64>) {
    // only what is Hermitian counts
    let matrix = DMatrix::from_fn(n, n, |i, j| (a[i * n + j] + a[j * n + i].conj()) * 0.5);
    let eigen = matrix.symmetric_eigen();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[i].total_cmp(&eigen.eigenvalues[j]));
    let values = order.iter().map(|&k| eigen.eigenvalues[k]).collect();
    let mut vectors = vec![ZERO; n * n];
    for (column, &k) in order.iter().enumerate() {
        for row in 0..n {
            vectors[row * n + column] = eigen.eigenvectors[(row, k)];
        }
    }
    (values, vectors)
}

/// A vector of two numbers.
pub(crate) type Pair = [C64; 2];

/// Generalised eigenvectors of a pair of 2 x 2 Hermitian positive matrices, a h = lambda b h: that of the smaller
/// lambda, then that of the larger, of any length.
pub(crate) fn generalized_eigenvectors(a: [C64; 4], b: [C64; 4]) -> Option<(Pair, Pair)> {
    // b = l l^H, c = l^-1 a l^-H: an ordinary problem, which one rotation solves
    let l_00 = b[0].re.sqrt();
    let l_10 = b[2] / l_00;
    let l_11 = (b[3].re - l_10.norm_sqr()).sqrt();
    if !(l_00 > 0.0 && l_11 > 0.0 && l_11.is_finite()) {
        return None;
    }
    let c_00 = a[0].re / (l_00 * l_00);
    let x_10 = (a[2] - l_10 * a[0] / l_00) / l_11;
    let c_10 = x_10 / l_00;
    let c_11 = (a[3].re - 2.0 * (l_10.conj() * a[2]).re / l_00 + l_10.norm_sqr() * c_00) / (l_11 * l_11);
    let half = 0.5 * (c_00 - c_11);
    let size = (half * half + c_10.norm_sqr()).sqrt();
    if !size.is_finite() {
        return None;
    }
    // the eigenvector of the larger eigenvalue is (half + size, c_10), or (conj(c_10), size - half): no cancellation
    let large = match half >= 0.0 {
        _ if size == 0.0 => [ONE, ZERO],
        true => [C64::new(half + size, 0.0), c_10],
        false => [c_10.conj(), C64::new(size - half, 0.0)],
    };
    let small = [-large[1].conj(), large[0].conj()];
    // h = l^-H g
    let back = |g: Pair| {
        let h_1 = g[1] / l_11;
        [(g[0] - l_10.conj() * h_1) / l_00, h_1]
    };
    Some((back(small), back(large)))
}

/// h / sqrt(h^H m h).
pub(crate) fn normalized(h: Pair, m: &[C64; 4]) -> Option<Pair> {
    let size = h[0].norm_sqr() * m[0].re + h[1].norm_sqr() * m[3].re + 2.0 * (h[0].conj() * m[1] * h[1]).re;
    let scale = 1.0 / size.sqrt();
    (size > 0.0 && scale.is_finite()).then(|| h.map(|x| x * scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    fn random(n: usize, rng: &mut ChaCha8Rng) -> Vec<C64> {
        let mut number = || rng.next_u64() as f64 / u64::MAX as f64 - 0.5;
        (0..n).map(|_| C64::new(number(), number())).collect()
    }

    fn hermitian(n: usize, rng: &mut ChaCha8Rng) -> Vec<C64> {
        let a = random(n * n, rng);
        let mut out = vec![ZERO; n * n];
        for i in 0..n {
            for j in 0..n {
                out[i * n + j] = (0..n).map(|k| a[i * n + k] * a[j * n + k].conj()).sum();
            }
        }
        out
    }

    #[test]
    fn solving_inverts_and_determinants_match_the_factorisation_of_nalgebra() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for n in 1..7 {
            let a = random(n * n, &mut rng);
            let inverse = inverse(n, &a).unwrap();
            let mut product = vec![ZERO; n * n];
            multiply(n, &a, &inverse, &mut product);
            for i in 0..n {
                for j in 0..n {
                    let wanted = if i == j { ONE } else { ZERO };
                    assert!((product[i * n + j] - wanted).norm() < 1e-12, "{n}");
                }
            }
            let det = DMatrix::from_row_slice(n, n, &a).determinant();
            assert!((log_abs_det(n, &a) - det.norm().ln()).abs() < 1e-12);
        }
        assert!(inverse(2, &[ONE, ONE, ONE, ONE]).is_none());
        assert_eq!(log_abs_det(2, &[ONE, ONE, ONE, ONE]), f64::NEG_INFINITY);
    }

    #[test]
    fn logarithms_of_determinants_add_up_over_any_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for n in 1..5 {
            for scale in [1e-9, 1.0, 1e9] {
                let many: Vec<C64> = random(n * n * 100, &mut rng).iter().map(|a| a * scale).collect();
                let one_by_one: f64 = many.chunks_exact(n * n).map(|a| log_abs_det(n, a)).sum();
                let sum = sum_log_abs_det(n, &many);
                assert!(
                    (sum - one_by_one).abs() < 1e-10 * one_by_one.abs().max(1.0),
                    "{n}: {sum} {one_by_one}"
                );
            }
            assert_eq!(sum_log_abs_det(n, &vec![ZERO; n * n * 3]), f64::NEG_INFINITY);
        }
    }

    #[test]
    fn eigenvectors_diagonalise() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for n in 1..6 {
            let a = hermitian(n, &mut rng);
            let (values, vectors) = hermitian_eigen(n, &a);
            assert!(values.windows(2).all(|pair| pair[0] <= pair[1]));
            for k in 0..n {
                for i in 0..n {
                    let av: C64 = (0..n).map(|j| a[i * n + j] * vectors[j * n + k]).sum();
                    assert!((av - vectors[i * n + k] * values[k]).norm() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn generalised_eigenvectors_are_orthogonal_in_both_matrices_and_normalised_in_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for case in 0..20 {
            let pick = |m: Vec<C64>| [m[0], m[1], m[2], m[3]];
            let a = pick(hermitian(2, &mut rng));
            let b = if case == 0 { a.map(|x| x * 3.0) } else { pick(hermitian(2, &mut rng)) };
            let (h, g) = generalized_eigenvectors(a, b).unwrap();
            let (h, g) = (normalized(h, &a).unwrap(), normalized(g, &b).unwrap());
            let product = |x: Pair, m: [C64; 4], y: Pair| {
                x[0].conj() * (m[0] * y[0] + m[1] * y[1]) + x[1].conj() * (m[2] * y[0] + m[3] * y[1])
            };
            assert!(product(h, a, g).norm() < 1e-9, "{case}: {}", product(h, a, g));
            assert!(product(h, b, g).norm() < 1e-9);
            assert!((product(h, a, h) - ONE).norm() < 1e-12 && (product(g, b, g) - ONE).norm() < 1e-12);
            // the first is small in a, compared with b
            let quotient = |x: Pair| product(x, a, x).re / product(x, b, x).re;
            assert!(quotient(h) <= quotient(g) * (1.0 + 1e-9));
        }
    }
}
