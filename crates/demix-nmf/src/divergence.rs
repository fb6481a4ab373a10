//! The beta divergences d_b(x|y) and the exponents of their multiplicative updates.
//!
//! b = 2: (x-y)^2/2; b = 1: x log(x/y) - x + y; b = 0: x/y - log(x/y) - 1;
//! else (x^b + (b-1) y^b - b x y^(b-1)) / (b (b-1)).

use ndarray::ArrayView2;

use crate::Scalar;

/// A beta divergence; any real b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Divergence {
    /// b = 2.
    Euclidean,
    /// b = 1, generalised.
    KullbackLeibler,
    /// b = 0.
    ItakuraSaito,
    /// Any other b.
    Beta(f64),
}

impl Divergence {
    /// The divergence of this b.
    pub fn new(beta: f64) -> Self {
        match beta {
            2.0 => Self::Euclidean,
            1.0 => Self::KullbackLeibler,
            0.0 => Self::ItakuraSaito,
            _ => Self::Beta(beta),
        }
    }

    /// b.
    pub fn beta(self) -> f64 {
        match self {
            Self::Euclidean => 2.0,
            Self::KullbackLeibler => 1.0,
            Self::ItakuraSaito => 0.0,
            Self::Beta(beta) => beta,
        }
    }

    /// d_b(x|y) of x >= 0, y > 0 (x > 0 where b <= 0).
    pub fn of(self, x: f64, y: f64) -> f64 {
        match self {
            Self::Euclidean => 0.5 * (x - y) * (x - y),
            Self::KullbackLeibler if x == 0.0 => y,
            Self::KullbackLeibler => x * (x / y).ln() - x + y,
            Self::ItakuraSaito => x / y - (x / y).ln() - 1.0,
            Self::Beta(b) => (x.powf(b) + (b - 1.0) * y.powf(b) - b * x * y.powf(b - 1.0)) / (b * (b - 1.0)),
        }
    }

    /// The exponent g(b) under which majorisation-minimisation never increases the cost: 1/(2-b) for b < 1,
    /// 1 for 1 <= b <= 2, 1/(b-1) for b > 2 (Fevotte and Idier 2011, eq. 4.4).
    pub fn mm_exponent(self) -> f64 {
        match self.beta() {
            b if b < 1.0 => 1.0 / (2.0 - b),
            b if b > 2.0 => 1.0 / (b - 1.0),
            _ => 1.0,
        }
    }

    /// The part of sum d(V|R) that does not depend on R and that the kernels leave out.
    pub(crate) fn constant<T: Scalar>(self, v: ArrayView2<'_, T>) -> f64 {
        match self {
            Self::KullbackLeibler | Self::ItakuraSaito => 0.0,
            Self::Euclidean => v.iter().map(|x| 0.5 * x.to_double() * x.to_double()).sum(),
            Self::Beta(b) => v.iter().map(|x| x.to_double().powf(b)).sum::<f64>() / (b * (b - 1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_are_zero_at_equality_positive_elsewhere_and_continuous_in_beta() {
        for beta in [-1.5, -0.5, 0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 4.7] {
            let d = Divergence::new(beta);
            for y in [0.1, 1.0, 20.0] {
                assert!(d.of(y, y).abs() < 1e-12 * y.powf(beta).max(1.0), "{beta} {y}");
                assert!(d.of(1.1 * y, y) > 0.0 && d.of(0.9 * y, y) > 0.0, "{beta} {y}");
            }
            let (near, here) = (Divergence::new(beta + 1e-7).of(2.0, 3.0), d.of(2.0, 3.0));
            assert!((near - here).abs() < 1e-5, "{beta}: {near} {here}");
        }
    }
}
