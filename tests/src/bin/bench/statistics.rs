//! Medians.

use serde_json::{Value, json};

/// The value that this share of the values is not above; 0 of none.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    values.get(index).copied().unwrap_or(0.0)
}

/// The median: of an even number of values, the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values[..] {
        [] => 0.0,
        _ => (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0,
    }
}

/// Median and extremes.
pub fn spread(mut values: Vec<f64>) -> Value {
    values.sort_unstable_by(f64::total_cmp);
    let median = median(values.clone());
    json!({ "median": median, "min": values.first(), "max": values.last(), "pairs": values.len() })
}
