//! Measuring a model.

use eyot_guest::{Error, Model, Result, Tensor};

use crate::data::{DIGITS, PIXELS, Row, Rows};

/// How often each digit was taken for which.
#[derive(Debug, Default)]
pub struct Report {
    confusion: [[u32; DIGITS]; DIGITS],
}

/// Rows in one inference.
const BATCH: usize = 256;

/// Runs the model on every row.
pub fn measure(model: &Model, rows: &Rows) -> Result<Report> {
    let rows: Vec<&Row> = rows.iter().collect();
    let mut report = Report::default();
    for batch in rows.chunks(BATCH) {
        let pixels: Vec<f32> = batch.iter().flat_map(|row| row.pixels.map(f32::from)).collect();
        let outputs = model.infer(vec![Tensor::of("pixels", &[batch.len(), PIXELS], &pixels)])?;
        let labels = outputs.iter().find(|output| output.name() == "label");
        let labels =
            labels.ok_or_else(|| Error::invalid("the model has no output 'label'"))?.to_vec::<i64>()?;
        for (row, label) in batch.iter().zip(labels) {
            report.count(row.label, label)?;
        }
    }
    Ok(report)
}

impl Report {
    fn count(&mut self, truth: u8, answer: i64) -> Result<()> {
        let answer = usize::try_from(answer).ok().filter(|answer| *answer < DIGITS);
        let answer =
            answer.ok_or_else(|| Error::invalid("the model answered with something that is no digit"))?;
        self.confusion[usize::from(truth)][answer] += 1;
        Ok(())
    }

    /// The share of rows that were taken for what they are.
    pub fn accuracy(&self) -> f64 {
        let all: u32 = self.confusion.iter().flatten().sum();
        let right: u32 = (0..DIGITS).map(|digit| self.confusion[digit][digit]).sum();
        if all == 0 { 0.0 } else { f64::from(right) / f64::from(all) }
    }

    /// Fails when the accuracy is below `minimum`.
    pub fn require(&self, minimum: f64) -> Result<()> {
        let accuracy = self.accuracy();
        if accuracy >= minimum {
            return Ok(());
        }
        Err(Error::invalid(format!("the accuracy is {accuracy:.4}, below the minimum of {minimum}")))
    }

    /// The report as JSON: a row a true digit, a column an answer.
    pub fn json(&self) -> String {
        format!("{{\"accuracy\": {}, \"confusion\": {:?}}}\n", self.accuracy(), self.confusion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_the_share_of_right_answers() {
        let mut report = Report::default();
        for (truth, answer) in [(1, 1), (2, 2), (3, 8), (4, 4)] {
            report.count(truth, answer).unwrap();
        }
        assert_eq!(report.accuracy(), 0.75);
        assert!(report.require(0.75).is_ok());
        let error = report.require(0.8).unwrap_err().to_string();
        assert_eq!(error, "the accuracy is 0.7500, below the minimum of 0.8");
        assert!(report.json().starts_with("{\"accuracy\": 0.75, \"confusion\": [[0, 0"));
        assert!(report.count(0, 10).is_err() && report.count(0, -1).is_err());
    }
}
