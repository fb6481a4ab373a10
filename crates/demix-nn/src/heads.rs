//! From the outputs of the last layers to sigma and nu_D, and the loss of a row with its gradient.

use crate::{Header, Loss, OutputName};

/// What the outputs of the last layers mean.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    loss: Loss,
    output: OutputName,
    /// Empty for networks of one head.
    anchors: Vec<f64>,
}

/// One frame in the normalised domain.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Output of the head of sigma, (bins).
    pub sigma: &'a [f32],
    /// Output of the head of rho, (bins, anchors); empty for networks of one head.
    pub rho: &'a [f32],
    /// Magnitudes of the mixture, (bins).
    pub mixture: &'a [f32],
    /// Magnitudes of the source, (bins).
    pub source: &'a [f32],
    /// Where it is an input of the network.
    pub nu_nmf: f64,
}

/// sigma of a slot and its derivatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sigma {
    pub value: f64,
    /// With respect to the output of the head.
    pub by_output: f64,
    /// With respect to nu_D.
    pub by_dof: f64,
}

impl Heads {
    pub fn new(header: &Header) -> Self {
        let anchors = match header.loss.heads() {
            1 => Vec::new(),
            _ => header.network.anchors.values().to_vec(),
        };
        Self { loss: header.loss, output: header.network.output, anchors }
    }

    /// Anchors of a bin; 0 for networks of one head.
    pub fn n_anchors(&self) -> usize {
        self.anchors.len()
    }

    /// sigma of a slot whose output is `z`, where the mixture has magnitude `x` and the slot nu_D = `dof`.
    pub fn sigma(&self, z: f32, x: f32, dof: f64, nu_nmf: f64) -> Sigma {
        let (z, x) = (f64::from(z), f64::from(x));
        match self.output {
            OutputName::Relu if z > 0.0 => Sigma { value: z, by_output: 1.0, by_dof: 0.0 },
            OutputName::Relu => Sigma { value: 0.0, by_output: 0.0, by_dof: 0.0 },
            OutputName::Mask => {
                let mask = 1.0 / (1.0 + (-z).exp());
                let (gain, by_dof) = self.gain(dof, nu_nmf);
                Sigma {
                    value: mask * gain * x,
                    by_output: mask * (1.0 - mask) * gain * x,
                    by_dof: mask * by_dof * x,
                }
            }
        }
    }

    /// What a mask of 1 stands for, and its derivative with respect to nu_D. In (57) a silent NMF part takes most of the
    /// degrees of freedom: the power of the source is r = nu_D sigma^2 / (nu_NMF + nu_D + 2), (34), (35). The mask is that
    /// of r, whatever the nu: were it that of sigma, it would be 1 everywhere, and learn nothing, as soon as nu_NMF is
    /// beyond nu_D.
    fn gain(&self, dof: f64, nu_nmf: f64) -> (f64, f64) {
        match self.loss.nu_nmf(nu_nmf) {
            Some(nu_nmf) => {
                let gain = (1.0 + (nu_nmf + 2.0) / dof).sqrt();
                (gain, -(nu_nmf + 2.0) / (2.0 * dof * dof * gain))
            }
            None => (1.0, 0.0),
        }
    }

    /// nu_D = sum_k rho_k kappa_k, and rho (written to `rho`), from the outputs of one bin.
    pub fn dof(&self, logits: &[f32], rho: &mut [f64]) -> f64 {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (rho, &logit) in rho.iter_mut().zip(logits) {
            *rho = (f64::from(logit) - f64::from(largest)).exp();
        }
        let sum: f64 = rho.iter().sum();
        rho.iter_mut().for_each(|rho| *rho /= sum); // (54)
        rho.iter().zip(&self.anchors).map(|(rho, kappa)| rho * kappa).sum() // (53)
    }

    /// The cost of a frame, summed over bins, with the power floor eps2; its derivatives with respect to the outputs,
    /// times `weight`, go to `by_sigma` (bins) and `by_rho` (bins, anchors).
    pub fn cost(
        &self,
        row: Row<'_>,
        floor: f64,
        weight: f64,
        by_sigma: &mut [f32],
        by_rho: &mut [f32],
    ) -> f64 {
        let k = self.n_anchors();
        let mut rho = vec![0.0; k];
        let mut cost = 0.0;
        for bin in 0..row.sigma.len() {
            let anchors = bin * k..(bin + 1) * k;
            let dof = if k == 0 { 0.0 } else { self.dof(&row.rho[anchors.clone()], &mut rho) };
            let sigma = self.sigma(row.sigma[bin], row.mixture[bin], dof, row.nu_nmf);
            let slot = self.loss.slot(f64::from(row.source[bin]), sigma.value, dof, row.nu_nmf, floor);
            cost += slot.value;
            by_sigma[bin] = (weight * slot.by_sigma * sigma.by_output) as f32;
            let by_dof = slot.by_dof + slot.by_sigma * sigma.by_dof;
            for ((out, rho), kappa) in by_rho[anchors].iter_mut().zip(&rho).zip(&self.anchors) {
                *out = (weight * by_dof * rho * (kappa - dof)) as f32;
            }
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::header;

    #[test]
    fn slopes_of_the_outputs_are_those_of_finite_differences() {
        let source = [0.5f32, 0.0, 2.0];
        let mixture = [0.9f32, 0.4, 1.5];
        for output in [OutputName::Mask, OutputName::Relu] {
            for loss in [Loss::SquareRoot, Loss::Product { nu_nmf: 20.0 }, Loss::EmpiricalBayes] {
                let mut header = header(loss);
                header.network.output = output;
                let heads = Heads::new(&header);
                let k = heads.n_anchors();
                let sigma = vec![0.7f32, 1.3, 0.2];
                let rho: Vec<f32> = (0..3 * k).map(|i| (i as f32 * 1.7).sin()).collect();
                let cost = |sigma: &[f32], rho: &[f32]| {
                    let (mut a, mut b) = (vec![0.0; 3], vec![0.0; 3 * k]);
                    let row = Row { sigma, rho, mixture: &mixture, source: &source, nu_nmf: 3.0 };
                    let value = heads.cost(row, 0.01, 0.5, &mut a, &mut b);
                    (value, a, b)
                };
                let (_, by_sigma, by_rho) = cost(&sigma, &rho);
                let check = |analytic: f32, up: f64, down: f64, step: f64| {
                    let numeric = 0.5 * (up - down) / step;
                    // the outputs are f32: a step of 2^-10 is exact, its square is the error
                    assert!(
                        (f64::from(analytic) - numeric).abs() < 3e-4 * (1.0 + numeric.abs()),
                        "{output} {loss}: {analytic} {numeric}"
                    );
                };
                let step = 1.0 / 1024.0;
                for i in 0..3 {
                    let moved = |by: f32| {
                        let mut moved = sigma.clone();
                        moved[i] += by;
                        moved
                    };
                    let (up, down) = (moved(step), moved(-step));
                    let width = f64::from(up[i]) - f64::from(down[i]);
                    check(by_sigma[i], cost(&up, &rho).0, cost(&down, &rho).0, width);
                }
                for i in 0..3 * k {
                    let moved = |by: f32| {
                        let mut moved = rho.clone();
                        moved[i] += by;
                        moved
                    };
                    let (up, down) = (moved(step), moved(-step));
                    let width = f64::from(up[i]) - f64::from(down[i]);
                    check(by_rho[i], cost(&sigma, &up).0, cost(&sigma, &down).0, width);
                }
            }
        }
    }

    #[test]
    fn a_mask_is_that_of_the_power_which_costs_least_for_every_nu() {
        let heads = |loss| Heads::new(&header(loss));
        let conditioned = heads(Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 });
        for nu_nmf in [1.0, 1e3, 1e6] {
            for dof in [1.0, 30.0, 1000.0] {
                // a quarter of the magnitude is the source's
                let (share, z) = (0.25f64, (0.25f64 / 0.75).ln() as f32);
                let sigma = conditioned.sigma(z, 1.0, dof, nu_nmf);
                let expected = sigma.value.powi(2) * dof / (nu_nmf + dof + 2.0);
                assert!((expected / share.powi(2) - 1.0).abs() < 1e-6, "{nu_nmf} {dof}: {expected}");
                // the cost falls towards that mask from both sides
                let slope = |z: f32| {
                    let sigma = conditioned.sigma(z, 1.0, dof, nu_nmf);
                    conditioned.loss.slot(share, sigma.value, dof, nu_nmf, 0.01).by_sigma * sigma.by_output
                };
                assert!(slope(z - 0.01) < -1e-4 && slope(z + 0.01) > 1e-4, "{nu_nmf} {dof}");
            }
        }
        let of_one = heads(Loss::Product { nu_nmf: 1e3 });
        assert_eq!(of_one.sigma(0.3, 1.0, 9.0, 0.0), conditioned.sigma(0.3, 1.0, 9.0, 1e3));
        assert_eq!(
            heads(Loss::EmpiricalBayes).sigma(0.3, 1.0, 9.0, 1e3),
            heads(Loss::SquareRoot).sigma(0.3, 1.0, 0.0, 0.0)
        );
    }

    #[test]
    fn weights_of_anchors_are_a_distribution_even_for_huge_outputs() {
        let heads = Heads::new(&header(Loss::EmpiricalBayes));
        let mut rho = [0.0; 4];
        assert_eq!(heads.dof(&[0.0; 4], &mut rho), 1111.0 / 4.0);
        for logits in [[3e38, -3e38, 0.0, 1.0], [-3e38; 4], [1.0, 2.0, 3.0, 4.0]] {
            let dof = heads.dof(&logits, &mut rho);
            assert!((rho.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!((1.0..=1000.0).contains(&dof), "{dof}");
        }
    }
}
