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
                    (2, 1) => block::<L, 2, 1>(x, g, stride, frames, m, self.out),
                    (2, _) => block::<L, 2, 2>(x, g, stride, frames, m, self.out),
                    (3, _) => block::<L, 3, 1>(x, g, stride, frames, m, self.out),
                    (4, _) => block::<L, 4, 1>(x, g, stride, frames, m, self.out),
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
        let mut re = [[[zero; M]; M]; G];
        let mut im = [[[zero; M]; M]; G];
        for j in (first..last).step_by(L::N) {
            let mut x_re = [zero; M];
            let mut x_im = [zero; M];
            for a in 0..M {
                x_re[a] = L::load(x.as_ptr().add(2 * a * stride + j));
                x_im[a] = L::load(x.as_ptr().add((2 * a + 1) * stride + j));
            }
            for s in 0..G {
                let weight = L::load(g.as_ptr().add(s * stride + j));
                for a in 0..M {
                    let (g_re, g_im) = (x_re[a].mul(weight), x_im[a].mul(weight));
                    let minus_g_re = zero.sub(g_re);
                    for b in a..M {
                        // x_a conj(x_b)
                        re[s][a][b] = g_re.mul_add(x_re[b], g_im.mul_add(x_im[b], re[s][a][b]));
                        if b > a {
                            im[s][a][b] = g_im.mul_add(x_re[b], minus_g_re.mul_add(x_im[b], im[s][a][b]));
                        }
                    }
                }
            }
        }
        for s in 0..G {
            for a in 0..M {
                for b in a..M {
                    out[s * M * M + a * M + b] += Complex::new(sum(re[s][a][b]), sum(im[s][a][b]));
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
