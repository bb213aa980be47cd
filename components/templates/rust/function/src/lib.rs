#[eyot_guest::component]
pub mod functions {
    use eyot_guest::{Error, Result};

    pub struct Summary {
        pub count: u32,
        pub mean: f64,
        pub deviation: f64,
    }

    /// The mean of values, and how far they lie from it.
    pub fn summarize(values: Vec<f64>) -> Result<Summary> {
        if values.is_empty() {
            return Err(Error::invalid("there are no values"));
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        Ok(Summary { count: count as u32, mean, deviation })
    }
}

#[cfg(test)]
mod tests {
    use super::functions::summarize;

    #[test]
    fn mean_and_deviation() {
        let summary = summarize(vec![1.0, 3.0]).unwrap();
        assert_eq!((summary.count, summary.mean, summary.deviation), (2, 2.0, 1.0));
        assert!(summarize(vec![]).is_err());
    }
}
