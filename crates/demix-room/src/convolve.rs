//! [`convolve`]: signals through responses, by overlap-add.

use std::cell::RefCell;

use realfft::RealFftPlanner;

thread_local! {
    /// A plan takes as long as some transforms: short signals share theirs.
    static PLANNER: RefCell<RealFftPlanner<f64>> = RefCell::new(RealFftPlanner::new());
}

/// The convolution of one signal with the responses of several microphones; each row has
/// `signal.len() + responses[0].len() - 1` samples (none where either is empty).
///
/// Blocks are transformed, filtered and added (Oppenheim and Schafer, section 8.7.3), in double precision; the memory
/// beyond the result is a few blocks.
pub fn convolve(signal: &[f32], responses: &[&[f64]]) -> Vec<Vec<f32>> {
    responses.iter().map(|response| convolve_one(signal, response)).collect()
}

fn convolve_one(signal: &[f32], response: &[f64]) -> Vec<f32> {
    if signal.is_empty() || response.is_empty() {
        return Vec::new();
    }
    if let [gain] = response {
        return signal.iter().map(|x| (f64::from(*x) * gain) as f32).collect();
    }
    let n = signal.len() + response.len() - 1;
    // four times the response is near the fewest operations per sample; no longer than needed
    let size = (4 * response.len()).max(4096).min(n).next_power_of_two();
    let hop = size - response.len() + 1;
    let (forward, inverse) =
        PLANNER.with_borrow_mut(|p| (p.plan_fft_forward(size), p.plan_fft_inverse(size)));
    let (mut block, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    let mut scratch = vec![Default::default(); forward.get_scratch_len().max(inverse.get_scratch_len())];
    let mut filter = forward.make_output_vec();
    block[..response.len()].copy_from_slice(response);
    block.iter_mut().for_each(|x| *x /= size as f64);
    forward
        .process_with_scratch(&mut block, &mut filter, &mut scratch)
        .expect("the planner made these buffers");
    let mut result = vec![0.0f32; n];
    // what earlier blocks left for this one
    let mut tail = vec![0.0; response.len() - 1];
    for start in (0..n).step_by(hop) {
        block.fill(0.0);
        for (y, x) in block.iter_mut().zip(signal.iter().skip(start).take(hop)) {
            *y = f64::from(*x);
        }
        forward.process_with_scratch(&mut block, &mut spectrum, &mut scratch).expect("as above");
        spectrum.iter_mut().zip(&filter).for_each(|(x, h)| *x *= h);
        inverse.process_with_scratch(&mut spectrum, &mut block, &mut scratch).expect("as above");
        block.iter_mut().zip(&tail).for_each(|(y, rest)| *y += rest);
        for (y, x) in result[start..].iter_mut().zip(&block[..hop]) {
            *y = *x as f32;
        }
        tail.copy_from_slice(&block[hop..]);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_the_sum_says(n in 1usize..6000, length in 1usize..1500, seed in 0u32..1000) {
            let random = |i: usize| f64::from((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 23) - 1.0;
            let signal: Vec<f32> = (0..n).map(|t| random(t) as f32).collect();
            let response: Vec<f64> = (0..length).map(|t| random(t + 7777)).collect();
            let got = convolve(&signal, &[&response]).remove(0);
            prop_assert_eq!(got.len(), n + length - 1);
            // the whole sum is slow: some places, those around the joints among them
            for t in (0..got.len()).filter(|t| t % 97 == 0 || *t + 3 > got.len() || t % 4096 < 2) {
                let first = (t + 1).saturating_sub(length);
                let want: f64 = (first..=t.min(n - 1)).map(|i| f64::from(signal[i]) * response[t - i]).sum();
                // rounding of the result to single precision
                prop_assert!((f64::from(got[t]) - want).abs() < 1e-6 * (length as f64).sqrt(), "{} {}", got[t], want);
            }
        }
    }

    #[test]
    fn nothing_through_anything_is_nothing() {
        assert!(convolve(&[], &[&[1.0, 2.0]])[0].is_empty());
        assert!(convolve(&[1.0], &[&[]])[0].is_empty());
        assert_eq!(convolve(&[1.0, -2.0], &[&[0.5], &[2.0]]), [[0.5, -1.0], [2.0, -4.0]]);
    }
}
