//! [`Loss`]: what training makes small.
//!
//! All in the normalised domain: frame and target are divided by the level of the frame's neighbourhood. With s the
//! magnitude of the source, sigma the network's, p = s^2 + eps2, q = sigma^2 + eps2 (`power_floor`) and
//! L(nu, c) = (1 + nu/2) log(1 + 2 p / (c q)), a slot costs
//!
//! | loss | cost | source |
//! | --- | --- | --- |
//! | `square-root` | (sqrt(s + 1e-5) - sqrt(sigma + 1e-5))^2 | |
//! | `itakura-saito` | p/q - log(p/q) - 1 | Hasumi et al. 2023, eq. (20) = (67) |
//! | `student:NU` | log q + L(nu, nu) | t-IDLMA |
//! | `product:NU_NMF` | log(nu_D q / nu) + L(nu, nu_D), nu = nu_NMF + nu_D + 2 | eq. (57) |
//! | `conditioned-product:LOW:HIGH` | the same, nu_NMF is an input of the network | |
//! | `empirical-bayes` | log q + L(nu_D, nu_D) | EB-IDLMA |
//!
//! (57) is the negative log-likelihood (29), without log pi, of the product of experts whose NMF part is silent: with
//! r_NMF = 0 eq. (34) gives r = (nu - 2)/nu (1 - eta) r_DNN = nu_D r_DNN / nu, since 1 - eta = nu_D / (nu - 2); so
//! nu r = nu_D r_DNN stands in the logarithm. nu_D = sum_k rho_k kappa_k, eq. (53), with rho the softmax of the
//! second head. In the losses of products eps2 stands beside the power r that is expected of the source, as it stands
//! beside s^2: q = sigma^2 + eps2 nu / nu_D. (The paper adds it to sigma^2, of which large nu_NMF leave nothing in r.)

use std::fmt;

use demix_signal::settings::{SettingValue, nearest_name};
use serde_json::Value;

/// Keeps the slope of the square roots finite; a magnitude.
const ROOT_FLOOR: f64 = 1e-5;

/// What training makes small; see the [module](self).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// Square of the difference of the square roots of the magnitudes: quick and tame, the start to begin with.
    #[default]
    SquareRoot,
    /// The Itakura-Saito divergence (20): for `idlma` and all with a Gaussian source.
    ItakuraSaito,
    /// Student's t for one number of degrees of freedom: for t-IDLMA.
    Student {
        /// Degrees of freedom.
        nu: f64,
    },
    /// The product of experts (57) for one nu_NMF: for t-PoP-IDLMA with that value.
    Product {
        /// Degrees of freedom of the NMF part.
        nu_nmf: f64,
    },
    /// The product of experts (57) where nu_NMF is an input of the network, drawn uniformly in its logarithm for
    /// every example: for t-PoP-IDLMA with any value between.
    ConditionedProduct {
        /// Smallest nu_NMF.
        lowest: f64,
        /// Largest nu_NMF.
        highest: f64,
    },
    /// Student's t with the network's own degrees of freedom: for EB-IDLMA.
    EmpiricalBayes,
}

/// The cost of one slot and its slopes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot {
    /// The cost.
    pub value: f64,
    /// Its derivative with respect to sigma.
    pub by_sigma: f64,
    /// Its derivative with respect to nu_D; 0 for networks of one head.
    pub by_dof: f64,
}

impl Loss {
    /// The names, without their numbers.
    pub const NAMES: [&'static str; 6] =
        ["square-root", "itakura-saito", "student", "product", "conditioned-product", "empirical-bayes"];

    /// The name without its numbers.
    pub fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::SquareRoot => 0,
            Self::ItakuraSaito => 1,
            Self::Student { .. } => 2,
            Self::Product { .. } => 3,
            Self::ConditionedProduct { .. } => 4,
            Self::EmpiricalBayes => 5,
        }]
    }

    /// 1: the network gives sigma; 2: it gives sigma and degrees of freedom.
    pub fn heads(&self) -> usize {
        match self {
            Self::SquareRoot | Self::ItakuraSaito | Self::Student { .. } => 1,
            Self::Product { .. } | Self::ConditionedProduct { .. } | Self::EmpiricalBayes => 2,
        }
    }

    /// Reads a loss as [`Display`](fmt::Display) writes it: `square-root`, `student:500`, `conditioned-product:1:1e6`.
    ///
    /// # Errors
    /// A sentence: an unknown name, missing or superfluous numbers, numbers outside their range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.trim().split(':');
        let name = parts.next().unwrap_or_default();
        let numbers = parts
            .map(|part| {
                part.trim().parse::<f64>().map_err(|_| format!("'{part}' in '{text}' is not a number"))
            })
            .collect::<Result<Vec<f64>, _>>()?;
        let loss = match (name, numbers.as_slice()) {
            ("square-root", []) => Self::SquareRoot,
            ("itakura-saito", []) => Self::ItakuraSaito,
            ("student", &[nu]) => Self::Student { nu },
            ("product", &[nu_nmf]) => Self::Product { nu_nmf },
            ("conditioned-product", &[lowest, highest]) => Self::ConditionedProduct { lowest, highest },
            ("empirical-bayes", []) => Self::EmpiricalBayes,
            ("student" | "product", _) => return Err(format!("one number was expected, as in '{name}:100'")),
            ("conditioned-product", _) => {
                return Err(format!("two numbers were expected, as in '{name}:1:1000000'"));
            }
            _ if Self::NAMES.contains(&name) => return Err(format!("{name} takes no number")),
            _ => {
                let hint = nearest_name(name, Self::NAMES).map(|near| format!("; did you mean '{near}'?"));
                let hint = hint.unwrap_or_default();
                return Err(format!("there is no loss '{name}', only {}{hint}", Self::NAMES.join(", ")));
            }
        };
        loss.check()?;
        Ok(loss)
    }

    /// Checks the numbers of the loss, for one that was written by hand.
    ///
    /// # Errors
    /// A sentence: degrees of freedom outside 1e-3 to 1e9, or a range of them that does not rise.
    pub fn check(&self) -> Result<(), String> {
        let in_range = |name: &str, nu: f64| match (1e-3..=1e9).contains(&nu) {
            true => Ok(()),
            false => {
                Err(format!("{name}={nu} of the loss {} is out of range: take 0.001 to 1e9", self.name()))
            }
        };
        match *self {
            Self::SquareRoot | Self::ItakuraSaito | Self::EmpiricalBayes => Ok(()),
            Self::Student { nu } => in_range("nu", nu),
            Self::Product { nu_nmf } => in_range("nu_nmf", nu_nmf),
            Self::ConditionedProduct { lowest, highest } => {
                in_range("lowest", lowest)?;
                in_range("highest", highest)?;
                match lowest < highest {
                    true => Ok(()),
                    false => Err(format!(
                        "the lowest nu_nmf {lowest} of the loss {} is not below the highest {highest}",
                        self.name()
                    )),
                }
            }
        }
    }

    /// The range of nu_NMF, where it is an input of the network.
    pub(crate) fn condition(&self) -> Option<(f64, f64)> {
        match *self {
            Self::ConditionedProduct { lowest, highest } => Some((lowest, highest)),
            _ => None,
        }
    }

    /// nu_NMF to hear the network with where no method says one: the loss's own, the geometric mean of its range.
    pub fn usual_nu(&self) -> Option<f64> {
        match *self {
            Self::Product { nu_nmf } => Some(nu_nmf),
            Self::ConditionedProduct { lowest, highest } => Some((lowest * highest).sqrt()),
            _ => None,
        }
    }

    /// nu_NMF of (57), where the loss is that; `given` where it is an input of the network.
    pub(crate) fn nu_nmf(&self, given: f64) -> Option<f64> {
        match *self {
            Self::Product { nu_nmf } => Some(nu_nmf),
            Self::ConditionedProduct { .. } => Some(given),
            _ => None,
        }
    }

    /// The cost of a slot: magnitude `s` of the source, the network's `sigma` and `dof` (nu_D, read by losses of two
    /// heads alone), nu_NMF where it is an input, and eps2, the power `floor` of the losses that are likelihoods.
    pub(crate) fn slot(&self, s: f64, sigma: f64, dof: f64, nu_nmf: f64, floor: f64) -> Slot {
        let (p, q) = (s * s + floor, sigma * sigma + floor);
        match *self {
            Self::SquareRoot => {
                let (a, b) = ((s + ROOT_FLOOR).sqrt(), (sigma + ROOT_FLOOR).sqrt());
                Slot { value: (a - b) * (a - b), by_sigma: 1.0 - a / b, by_dof: 0.0 }
            }
            Self::ItakuraSaito => {
                let ratio = p / q;
                Slot {
                    value: ratio - ratio.ln() - 1.0, // (20)
                    by_sigma: 2.0 * sigma * (1.0 - ratio) / q,
                    by_dof: 0.0,
                }
            }
            Self::Student { nu } => Slot { by_dof: 0.0, ..student(p, q, sigma, nu, nu) },
            Self::EmpiricalBayes => {
                let Slot { value, by_sigma, by_dof } = student(p, q, sigma, dof, dof);
                Slot { value, by_sigma, by_dof: by_dof + half_log(p, q, dof) }
            }
            Self::Product { nu_nmf } => product(p, sigma, dof, nu_nmf, floor),
            Self::ConditionedProduct { .. } => product(p, sigma, dof, nu_nmf, floor),
        }
    }
}

/// log q + L(nu, c); the derivative with respect to `c` alone stands in `by_dof`.
fn student(p: f64, q: f64, sigma: f64, nu: f64, c: f64) -> Slot {
    let pull = (1.0 + nu / 2.0) * 2.0 * p / (c * q + 2.0 * p);
    Slot {
        value: q.ln() + (2.0 + nu) * half_log(p, q, c),
        by_sigma: 2.0 * sigma * (1.0 - pull) / q,
        by_dof: -pull / c,
    }
}

/// 1/2 log(1 + 2 p / (c q)): the derivative of L(nu, c) with respect to nu.
fn half_log(p: f64, q: f64, c: f64) -> f64 {
    0.5 * (2.0 * p / (c * q)).ln_1p()
}

/// (57).
fn product(p: f64, sigma: f64, dof: f64, nu_nmf: f64, floor: f64) -> Slot {
    let nu = nu_nmf + dof + 2.0; // (35)
    let q = sigma * sigma + floor * nu / dof;
    let Slot { value, by_sigma, by_dof } = student(p, q, sigma, nu, dof);
    let by_q = (1.0 + by_dof * dof) / q; // of `student`, whose by_dof is -pull / dof
    let q_by_dof = -floor * (nu_nmf + 2.0) / (dof * dof);
    Slot {
        value: value + (dof / nu).ln(),
        by_sigma,
        by_dof: by_dof + half_log(p, q, dof) + 1.0 / dof - 1.0 / nu + by_q * q_by_dof,
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::SquareRoot | Self::ItakuraSaito | Self::EmpiricalBayes => Ok(()),
            Self::Student { nu: number } | Self::Product { nu_nmf: number } => write!(f, ":{number}"),
            Self::ConditionedProduct { lowest, highest } => write!(f, ":{lowest}:{highest}"),
        }
    }
}

impl SettingValue for Loss {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
    fn to_value(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Loss; 6] = [
        Loss::SquareRoot,
        Loss::ItakuraSaito,
        Loss::Student { nu: 7.0 },
        Loss::Product { nu_nmf: 30.0 },
        Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 },
        Loss::EmpiricalBayes,
    ];

    const FLOORS: [f64; 2] = [1e-5, 0.03];

    /// Negative log-likelihood (29) without log pi of a t distribution of scale r.
    fn minus_log_likelihood(power: f64, nu: f64, r: f64) -> f64 {
        r.ln() + (1.0 + nu / 2.0) * (1.0 + 2.0 * power / (nu * r)).ln()
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        for loss in ALL {
            for s in [0.0, 1e-3, 0.4, 3.0, 40.0] {
                for sigma in [2e-3, 0.03, 0.7, 9.0] {
                    for (dof, floor) in
                        [1.1, 12.0, 900.0].into_iter().flat_map(|dof| FLOORS.map(|f| (dof, f)))
                    {
                        let cost = |sigma, dof| loss.slot(s, sigma, dof, 50.0, floor).value;
                        let slot = loss.slot(s, sigma, dof, 50.0, floor);
                        let (h, k) = (1e-5 * sigma, 1e-5 * dof);
                        let by_sigma = (cost(sigma + h, dof) - cost(sigma - h, dof)) / (2.0 * h);
                        let by_dof = (cost(sigma, dof + k) - cost(sigma, dof - k)) / (2.0 * k);
                        // third derivatives leave 1e-10, cancellation 1e-16 of the value over the step
                        let near = |a: f64, b: f64, step: f64| {
                            (a - b).abs() <= 1e-6 * a.abs() + 1e-14 * (1.0 + slot.value.abs()) / step
                        };
                        assert!(
                            near(slot.by_sigma, by_sigma, h),
                            "{loss} {s} {sigma} {dof}: {slot:?} {by_sigma}"
                        );
                        assert!(near(slot.by_dof, by_dof, k), "{loss} {s} {sigma} {dof}: {slot:?} {by_dof}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_product_is_the_likelihood_of_a_product_whose_nmf_part_is_silent() {
        for (s, sigma, dof, nu_nmf) in [(0.3, 0.5, 4.0, 10.0), (2.0, 0.1, 700.0, 1e6), (0.0, 1.0, 1.0, 1.0)] {
            let floor = FLOORS[0];
            let (p, q): (f64, f64) = (s * s + floor, sigma * sigma + floor);
            let nu = nu_nmf + dof + 2.0;
            let eta = nu_nmf / (nu_nmf + dof);
            let r = (nu - 2.0) / nu * (eta * 0.0 + (1.0 - eta) * sigma * sigma) + floor; // (34)
            let expected = minus_log_likelihood(p, nu, r);
            for loss in [Loss::Product { nu_nmf }, Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 }] {
                let value = loss.slot(s, sigma, dof, nu_nmf, floor).value;
                // 1 - eta and 1 + small lose digits in the oracle: 1e-16 of nu_NMF
                assert!(
                    (value - expected).abs() < 1e-8 * (1.0 + expected.abs()),
                    "{loss} {value} {expected}"
                );
            }
            let expected = minus_log_likelihood(p, dof, q);
            assert!((Loss::EmpiricalBayes.slot(s, sigma, dof, 0.0, floor).value - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn many_degrees_of_freedom_are_a_gaussian() {
        let gauss = Loss::ItakuraSaito.slot(0.8, 0.5, 0.0, 0.0, 0.01);
        let student = Loss::Student { nu: 1e9 }.slot(0.8, 0.5, 0.0, 0.0, 0.01);
        // they differ by log p + 1, which no weight can change
        let constant = (0.8f64 * 0.8 + 0.01).ln() + 1.0;
        assert!((gauss.value + constant - student.value).abs() < 1e-7);
        assert!((gauss.by_sigma - student.by_sigma).abs() < 1e-6);
    }

    #[test]
    fn slots_below_the_floor_teach_nothing() {
        // both are 40 dB below the level, the network 6 dB too loud
        let (s, too_loud) = (0.01f64, 0.02f64);
        for loss in ALL.into_iter().filter(|loss| *loss != Loss::SquareRoot) {
            let (dof, nu_nmf) = (40.0, 30.0);
            // sigma of a product stands for more than the source
            let gain = loss.nu_nmf(nu_nmf).map_or(1.0, |nu| (1.0 + (nu + 2.0) / dof).sqrt());
            let sigma = gain * too_loud;
            let pull = |floor| (sigma * loss.slot(s, sigma, dof, nu_nmf, floor).by_sigma).abs();
            assert!(pull(1e-8) > 0.5, "{loss} {}", pull(1e-8));
            assert!(pull(0.1) < 1e-4, "{loss} {}", pull(0.1));
        }
    }

    #[test]
    fn the_truth_costs_least() {
        for loss in [Loss::SquareRoot, Loss::ItakuraSaito, Loss::Student { nu: 7.0 }] {
            assert!(loss.slot(0.6, 0.6, 1.0, 1.0, 0.01).by_sigma.abs() < 1e-12, "{loss}");
        }
    }

    #[test]
    fn losses_are_read_as_they_are_written() {
        for loss in ALL {
            assert_eq!(Loss::parse(&loss.to_string()), Ok(loss));
            assert!(Loss::NAMES.contains(&loss.name()));
        }
        assert_eq!(
            Loss::parse("conditioned-product:1:1e6").unwrap().to_string(),
            "conditioned-product:1:1000000"
        );
        assert_eq!(Loss::parse("studnet:1").unwrap_err().split("; ").nth(1), Some("did you mean 'student'?"));
        for wrong in [
            "",
            "student",
            "student:x",
            "student:0",
            "student:nan",
            "student:1:2",
            "product:-1",
            "square-root:1",
            "conditioned-product:10:1",
            "conditioned-product:1",
            "empirical-bayes:2",
            "student:inf",
        ] {
            assert!(Loss::parse(wrong).is_err(), "{wrong}");
        }
    }
}
