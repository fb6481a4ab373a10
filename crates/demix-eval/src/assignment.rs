//! The assignment problem: to each row a column of its own, so that the sum is largest.
//!
//! Kuhn 1955, Munkres 1957, in the form with potentials: rows join one after another, each along
//! a shortest augmenting path in reduced costs, O(rows^2 columns) in all.

use ndarray::Array2;

/// What infinities and `NaN` count as, in dB: beyond any ratio of two double precision energies.
const FAR: f64 = 1e5;

/// Sums closer than this to the best, in dB, are ties.
const TIE: f64 = 1e-9;

/// The column for each row that makes the sum of `scores`, shape (rows, columns), largest.
///
/// Infinite scores count as +-100 000, `NaN` as the lowest. Where the identity is as good as the
/// best, within 1e-9, it is the answer.
///
/// # Panics
/// Panics if there are more rows than columns.
///
/// # Example
/// ```
/// use demix_eval::assignment::best_assignment;
/// let scores = ndarray::array![[1.0, 9.0], [8.0, 9.0]];
/// assert_eq!(best_assignment(&scores), [1, 0]);
/// ```
pub fn best_assignment(scores: &Array2<f64>) -> Vec<usize> {
    let (n_rows, n_columns) = scores.dim();
    assert!(n_rows <= n_columns, "{n_rows} rows need as many columns, there are {n_columns}");
    let cost = scores.mapv(|score| if score.is_nan() { FAR } else { -score.clamp(-FAR, FAR) });
    let total = |columns: &[usize]| -> f64 { columns.iter().enumerate().map(|(r, &c)| cost[[r, c]]).sum() };

    let best = cheapest(&cost);
    let identity: Vec<usize> = (0..n_rows).collect();
    if total(&identity) <= total(&best) + TIE { identity } else { best }
}

fn cheapest(cost: &Array2<f64>) -> Vec<usize> {
    let (n_rows, n_columns) = cost.dim();
    let mut row_potential = vec![0.0; n_rows];
    let mut column_potential = vec![0.0; n_columns];
    let mut row_of: Vec<Option<usize>> = vec![None; n_columns];

    for new_row in 0..n_rows {
        let mut distance = vec![f64::INFINITY; n_columns];
        let mut via: Vec<Option<usize>> = vec![None; n_columns]; // the column before, on the path
        let mut reached = vec![false; n_columns];
        let (mut row, mut from) = (new_row, None);

        let end = loop {
            for column in (0..n_columns).filter(|&column| !reached[column]) {
                let reduced = cost[[row, column]] - row_potential[row] - column_potential[column];
                if reduced < distance[column] {
                    distance[column] = reduced;
                    via[column] = from;
                }
            }
            let nearest = (0..n_columns)
                .filter(|&column| !reached[column])
                .min_by(|&a, &b| distance[a].total_cmp(&distance[b]))
                .expect("as many columns as rows");
            let step = distance[nearest];
            row_potential[new_row] += step;
            for column in 0..n_columns {
                match row_of[column] {
                    Some(owner) if reached[column] => {
                        row_potential[owner] += step;
                        column_potential[column] -= step;
                    }
                    _ => distance[column] -= step,
                }
            }
            reached[nearest] = true;
            match row_of[nearest] {
                Some(owner) => (row, from) = (owner, Some(nearest)),
                None => break nearest,
            }
        };

        let mut column = end;
        while let Some(before) = via[column] {
            row_of[column] = row_of[before];
            column = before;
        }
        row_of[column] = Some(new_row);
    }

    let mut columns = vec![0; n_rows];
    for (column, row) in row_of.iter().enumerate() {
        if let Some(row) = *row {
            columns[row] = column;
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The best sum over every choice of columns.
    fn exhaustive(scores: &Array2<f64>, row: usize, taken: &mut Vec<usize>) -> f64 {
        if row == scores.nrows() {
            return 0.0;
        }
        let mut best = f64::NEG_INFINITY;
        for column in 0..scores.ncols() {
            if !taken.contains(&column) {
                taken.push(column);
                best = best.max(scores[[row, column]] + exhaustive(scores, row + 1, taken));
                taken.pop();
            }
        }
        best
    }

    #[test]
    fn equals_the_exhaustive_search() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (rows, columns) in [(1, 1), (1, 4), (2, 2), (3, 3), (3, 5), (4, 4), (5, 5), (6, 6), (6, 7)] {
            for round in 0..40 {
                // every other round has whole numbers, so that there are ties
                let scores = Array2::from_shape_fn((rows, columns), |_| {
                    let x: f64 = rng.random_range(-30.0..30.0);
                    if round % 2 == 0 { x } else { (x / 10.0).round() }
                });
                let found = best_assignment(&scores);
                let sum: f64 = found.iter().enumerate().map(|(r, &c)| scores[[r, c]]).sum();
                let best = exhaustive(&scores, 0, &mut Vec::new());
                assert!((sum - best).abs() < 1e-8, "{scores:?}: {sum} < {best}"); // TIE and rounding
                let mut sorted = found.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), rows, "a column is given twice");
            }
        }
    }

    #[test]
    fn finds_a_hidden_order_of_twenty() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let hidden: Vec<usize> = (0..20).map(|n| (7 * n + 3) % 20).collect();
        let scores = Array2::from_shape_fn((20, 20), |(r, c)| {
            rng.random_range(-10.0..0.0) + if hidden[r] == c { 20.0 } else { 0.0 }
        });
        assert_eq!(best_assignment(&scores), hidden);
    }

    #[test]
    fn ties_keep_the_given_order_and_odd_values_do_no_harm() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(best_assignment(&Array2::zeros((4, 4))), [0, 1, 2, 3]);
        assert_eq!(best_assignment(&Array2::from_elem((3, 3), nan)), [0, 1, 2]);
        assert_eq!(best_assignment(&ndarray::array![[0.0, inf], [0.0, 0.0]]), [1, 0]);
        assert_eq!(best_assignment(&ndarray::array![[-inf, 3.0], [5.0, -inf]]), [1, 0]);
        // a silent reference leaves the choice to the others
        assert_eq!(
            best_assignment(&ndarray::array![[nan, nan, nan], [9.0, 1.0, 1.0], [0.0, 9.0, 0.0]]),
            [2, 0, 1]
        );
    }
}
