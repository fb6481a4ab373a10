//! Weighted covariances of one bin: U_n = sum_j x_j x_j^H / xi_nj, all sources in one pass over the data.

use demix_signal::simd::{Kernel, Lanes};
use demix_signal::{Complex, Real};

use super::sum;

/// Frames whose products are summed in the working precision before they join a double: bounds the rounding.
const BLOCK: usize = 1024;

/// sum_j x_j x_j^H g_nj for several weights g_n = 1 / xi_n.
pub(crate) struct Covariance<'a, T> {
    /// Planes of the mixture: real and imaginary part of each channel, `stride` numbers each, 0 in the padding.
    pub x: &'a [T],
    /// Number of channels, M.
    pub channels: usize,
    /// Inverse weights: `stride` finite numbers for each source.
    pub inverse_weights: &'a [T],
    /// M x M for each source, row by row.
    pub out: &'a mut [Complex<f64>],
}

impl<T: Real> Kernel<T> for Covariance<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let m = self.channels;
        let stride = self.x.len() / (2 * m);
        let n = self.out.len() / (m * m);
        assert_eq!(self.x.len(), 2 * m * stride);
        assert_eq!(self.inverse_weights.len(), n * stride);
        assert!(stride.is_multiple_of(L::N));
        self.out.fill(Complex::new(0.0, 0.0));
        let (x, g) = (self.x, self.inverse_weights);
        // SAFETY: the lengths were checked above.
        unsafe {
            for first in (0..stride).step_by(BLOCK) {
                let frames = (first, (first + BLOCK).min(stride));
                match (m, n) {
                    (1, _) => block::<L, 1, 1>(x, g, stride, frames, m, self.out),
                    (2, _) => block::<L, 2, 2>(x, g, stride, frames, m, self.out),
                    (3, _) => block::<L, 3, 2>(x, g, stride, frames, m, self.out),
                    (4, _) => block::<L, 4, 2>(x, g, stride, frames, m, self.out),
                    _ => tiles::<L>(x, g, stride, frames, m, self.out),
                }
            }
        }
        for u in self.out.chunks_exact_mut(m * m) {
            for a in 0..m {
                for b in 0..a {
                    u[a * m + b] = u[b * m + a].conj();
                }
            }
        }
    }
}

/// M channels, G sources at a time: as many as leave their products in registers.
#[inline(always)]
unsafe fn block<L: Lanes, const M: usize, const G: usize>(
    x: &[L::Real],
    g: &[L::Real],
    stride: usize,
    frames: (usize, usize),
    m: usize,
    out: &mut [Complex<f64>],
) {
    let n = out.len() / (m * m);
    unsafe {
        let mut source = 0;
        while source + G <= n {
            products::<L, M, G>(x, &g[source * stride..], stride, frames, &mut out[source * m * m..]);
            source += G;
        }
        while source < n {
            products::<L, M, 1>(x, &g[source * stride..], stride, frames, &mut out[source * m * m..]);
            source += 1;
        }
    }
}

#[inline(always)]
unsafe fn products<L: Lanes, const M: usize, const G: usize>(
    x: &[L::Real],
    g: &[L::Real],
    stride: usize,
    (first, last): (usize, usize),
    out: &mut [Complex<f64>],
) {
    unsafe {
        let zero = L::splat(L::Real::ZERO);
        // real parts at (a, b >= a), imaginary parts mirrored below the diagonal
        let mut sums = [[[zero; M]; M]; G];
        let mut j = first;
        while j < last {
            let mut x_re = [zero; M];
            let mut x_im = [zero; M];
            for a in 0..M {
                x_re[a] = L::load(x.as_ptr().add(2 * a * stride + j));
                x_im[a] = L::load(x.as_ptr().add((2 * a + 1) * stride + j));
            }
            let mut weights = [zero; G];
            for s in 0..G {
                weights[s] = L::load(g.as_ptr().add(s * stride + j));
            }
            for a in 0..M {
                let minus_re = zero.sub(x_re[a]);
                for b in a..M {
                    // x_a conj(x_b) serves all sources
                    let re = x_re[a].mul_add(x_re[b], x_im[a].mul(x_im[b]));
                    for s in 0..G {
                        sums[s][a][b] = weights[s].mul_add(re, sums[s][a][b]);
                    }
                    if b > a {
                        let im = x_im[a].mul_add(x_re[b], minus_re.mul(x_im[b]));
                        for s in 0..G {
                            sums[s][b][a] = weights[s].mul_add(im, sums[s][b][a]);
                        }
                    }
                }
            }
            j += L::N;
        }
        for s in 0..G {
            let mut totals = [[L::Real::ZERO; M]; M];
            let flat = sums[s].as_flattened();
            for (out, x) in totals.as_flattened_mut().chunks_mut(4).zip(flat.chunks(4)) {
                let mut four = [zero; 4];
                four[..x.len()].copy_from_slice(x);
                out.copy_from_slice(&L::totals(four)[..x.len()]);
            }
            for a in 0..M {
                out[s * M * M + a * M + a] += Complex::new(totals[a][a].to_double(), 0.0);
                for b in a + 1..M {
                    out[s * M * M + a * M + b] +=
                        Complex::new(totals[a][b].to_double(), totals[b][a].to_double());
                }
            }
        }
    }
}

/// Many channels: tiles of two by two, so that the registers suffice.
#[inline(always)]
unsafe fn tiles<L: Lanes>(
    x: &[L::Real],
    g: &[L::Real],
    stride: usize,
    (first, last): (usize, usize),
    m: usize,
    out: &mut [Complex<f64>],
) {
    unsafe {
        let zero = L::splat(L::Real::ZERO);
        for (source, u) in out.chunks_exact_mut(m * m).enumerate() {
            let g = &g[source * stride..];
            for a in (0..m).step_by(2) {
                for b in (a..m).step_by(2) {
                    let (a_1, b_1) = ((a + 1).min(m - 1), (b + 1).min(m - 1));
                    let (rows, columns) = ([a, a_1], [b, b_1]);
                    let mut re = [[zero; 2]; 2];
                    let mut im = [[zero; 2]; 2];
                    for j in (first..last).step_by(L::N) {
                        let weight = L::load(g.as_ptr().add(j));
                        let mut x_re = [zero; 2];
                        let mut x_im = [zero; 2];
                        for c in 0..2 {
                            x_re[c] = L::load(x.as_ptr().add(2 * columns[c] * stride + j));
                            x_im[c] = L::load(x.as_ptr().add((2 * columns[c] + 1) * stride + j));
                        }
                        for r in 0..2 {
                            let g_re = L::load(x.as_ptr().add(2 * rows[r] * stride + j)).mul(weight);
                            let g_im = L::load(x.as_ptr().add((2 * rows[r] + 1) * stride + j)).mul(weight);
                            let minus_g_re = zero.sub(g_re);
                            for c in 0..2 {
                                re[r][c] = g_re.mul_add(x_re[c], g_im.mul_add(x_im[c], re[r][c]));
                                im[r][c] = g_im.mul_add(x_re[c], minus_g_re.mul_add(x_im[c], im[r][c]));
                            }
                        }
                    }
                    for r in 0..2.min(m - a) {
                        for c in 0..2.min(m - b) {
                            if b + c >= a + r {
                                let i = if b + c == a + r { 0.0 } else { sum(im[r][c]) };
                                u[(a + r) * m + b + c] += Complex::new(sum(re[r][c]), i);
                            }
                        }
                    }
                }
            }
        }
    }
}
