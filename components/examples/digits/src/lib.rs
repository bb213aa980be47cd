//! The steps of the digits example: from a CSV file to a classifier in ONNX that was measured.

pub mod data;
pub mod evaluate;
pub mod network;
pub mod onnx;
pub mod random;

#[eyot_guest::component]
pub mod steps {
    use eyot_guest::{Artifact, Model, Result, tracking};

    use crate::data::Rows;
    use crate::network::{Network, Training};
    use crate::{evaluate, onnx};

    pub struct Ingested {
        pub rows: Artifact,
        pub count: u64,
    }

    pub struct Validated {
        pub rows: Artifact,
        pub classes: u64,
    }

    pub struct Split {
        pub train: Artifact,
        pub test: Artifact,
    }

    pub struct Trained {
        pub weights: Artifact,
        pub loss: f64,
    }

    pub struct Exported {
        pub model: Artifact,
    }

    pub struct Evaluated {
        pub accuracy: f64,
        pub report: Artifact,
    }

    /// Reads a CSV file of 64 pixels and a label, and writes it in one form.
    pub fn ingest(file: Artifact) -> Result<Ingested> {
        let rows = Rows::parse(&file.text()?)?;
        Ok(Ingested { count: rows.len() as u64, rows: rows.write()? })
    }

    /// Checks that every pixel and label is possible and that every digit is there.
    pub fn validate(rows: Artifact) -> Result<Validated> {
        let classes = Rows::read(&rows)?.validate()?;
        Ok(Validated { rows, classes })
    }

    /// Puts a part of each digit's rows aside for testing.
    pub fn split(rows: Artifact, test_fraction: f64, seed: u64) -> Result<Split> {
        let (train, test) = Rows::read(&rows)?.split(test_fraction, seed)?;
        Ok(Split { train: train.write()?, test: test.write()? })
    }

    /// Trains a network with one hidden layer.
    pub fn train(rows: Artifact, seed: u64, epochs: u32, hidden: u32) -> Result<Trained> {
        let training = Training { seed, epochs, hidden: hidden as usize };
        let (network, loss) =
            training.run(&Rows::read(&rows)?, |epoch, loss| tracking::log_metric("loss", loss, epoch))?;
        Ok(Trained { weights: network.write()?, loss })
    }

    /// Writes the network as ONNX.
    pub fn export(weights: Artifact) -> Result<Exported> {
        let model = onnx::write(&Network::read(&weights)?);
        Ok(Exported { model: Artifact::write("application/onnx", &model)? })
    }

    /// Measures the model on rows that it has not seen, and fails when it is not good enough.
    pub fn evaluate(model: Artifact, rows: Artifact, minimum: f64) -> Result<Evaluated> {
        let report = evaluate::measure(&Model::load(&model)?, &Rows::read(&rows)?)?;
        tracking::log_metric("accuracy", report.accuracy(), 0);
        report.require(minimum)?;
        let accuracy = report.accuracy();
        Ok(Evaluated { accuracy, report: Artifact::write("application/json", report.json().as_bytes())? })
    }
}
