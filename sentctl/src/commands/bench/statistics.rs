//! Medians and spreads.

/// Measurements of one thing, sorted.
#[derive(Clone, Debug)]
pub struct Series(Vec<f64>);

impl Series {
    /// From measurements in any order.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// A figure that needs no repetition.
    pub fn exact(value: f64) -> Self {
        Self(vec![value])
    }

    /// The middle; the mean of the two middle ones if there are two; NaN of nothing.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match (self.0.get(middle), self.0.len() % 2) {
            (Some(upper), 0) => f64::midpoint(self.0.get(middle - 1).copied().unwrap_or(*upper), *upper),
            (Some(value), _) => *value,
            (None, _) => f64::NAN,
        }
    }

    /// The least.
    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The greatest.
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The geometric mean of positive numbers.
pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_what_was_measured() {
        assert_eq!(Series::new(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Series::new(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(Series::new(vec![]).median().is_nan());
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
    }
}
