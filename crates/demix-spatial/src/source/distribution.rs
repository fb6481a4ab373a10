//! [`Distribution`]: the densities that low-rank models can have.

/// A circular complex density of one slot, given its scale r.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Gaussian: ILRMA, Kitamura et al. 2016.
    Gauss,
    /// Student's t with so many degrees of freedom, > 0: t-ILRMA, Mogami et al. 2017; Gaussian at infinity.
    Student(f64),
    /// Generalised Gaussian of this shape, in (0, 2]: GGD-ILRMA, Kitamura et al. 2018; Gaussian at 2.
    Generalized(f64),
}

impl Distribution {
    /// The exponent of the multiplicative update that guarantees descent, for variances (T V)^(2/p):
    /// p / (p + 2), and p / (p + b) for shape b.
    pub fn exponent(self, domain: f64) -> f64 {
        match self {
            Self::Gauss | Self::Student(_) => domain / (domain + 2.0),
            Self::Generalized(shape) => domain / (domain + shape),
        }
    }
}

/// Runs `$body` with the density of a [`Distribution`].
macro_rules! with_density {
    ($distribution:expr, $density:ident, $body:expr) => {
        match $distribution {
            $crate::source::Distribution::Student(nu) if nu.is_finite() => {
                let $density = $crate::kernel::density::Student { nu };
                $body
            }
            $crate::source::Distribution::Generalized(shape) if shape != 2.0 => {
                let $density = $crate::kernel::density::Generalized { shape };
                $body
            }
            _ => {
                let $density = $crate::kernel::density::Gauss;
                $body
            }
        }
    };
}
pub(crate) use with_density;
