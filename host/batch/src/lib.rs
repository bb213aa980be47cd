//! Files of rows through a deployment: CSV, JSON lines and Parquet in, CSV and JSON lines out, however large. It speaks
//! to the data plane as any other client does, over HTTP.

mod input_plan;
mod prediction_client;
mod result_file;
mod row_reader;
mod scoring;
mod tensors;

pub use prediction_client::{PredictionAnswer, PredictionClient};
pub use scoring::{ReadProgress, ScoringJob, ScoringSummary, score_file};
