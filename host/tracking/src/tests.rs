#![allow(clippy::unwrap_used)]

use eyot_core::{ErrorKind, ProjectName, Timestamp};
use eyot_meta::Database;

use crate::{RunOutcome, TrackingStore};

async fn tracking() -> (TrackingStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let db = open_database(&dir.path().join("eyot.db")).await;
    (TrackingStore::new(db), dir)
}

#[tokio::test]
async fn a_run_holds_what_was_reported() {
    let (tracking, _dir) = tracking().await;
    let here = ProjectName::default();
    let run = tracking.create_run(&here, "digits", "first").await.unwrap();
    tracking.log_param(&run, "seed", "7").await.unwrap();
    tracking.log_param(&run, "seed", "7").await.unwrap();
    assert_eq!(tracking.log_param(&run, "seed", "8").await.unwrap_err().kind(), ErrorKind::Conflict);
    for (value, step) in [(0.5, 0), (f64::NAN, 2), (0.25, 1)] {
        tracking.log_metric(&run, "loss", value, step, Timestamp(step)).await.unwrap();
    }
    tracking.set_tag(&run, "stage", "a").await.unwrap();
    tracking.set_tag(&run, "stage", "b").await.unwrap();
    tracking.end_run(&run, RunOutcome::Finished).await.unwrap();
    let found = tracking.run(&here, &run).await.unwrap();
    assert_eq!((found.experiment.as_str(), found.status.as_str()), ("digits", "FINISHED"));
    assert_eq!((found.params["seed"].as_str(), found.tags["stage"].as_str()), ("7", "b"));
    assert!(found.metrics.len() == 1 && found.metrics[0].value.is_nan() && found.metrics[0].step == 2);
    let history = tracking.metric_history(&run, "loss").await.unwrap();
    assert_eq!(history.iter().map(|point| point.step).collect::<Vec<_>>(), [0, 1, 2]);
    for refused in [
        tracking.set_tag("none", "a", "b").await,
        tracking.log_param("none", "a", "b").await,
        tracking.log_metric("none", "a", 0.0, 0, Timestamp(0)).await,
        tracking.end_run("none", RunOutcome::Failed).await,
    ] {
        assert_eq!(refused.unwrap_err().to_string(), "there is no run 'none'");
    }
}

#[tokio::test]
async fn versions_count_up_and_aliases_move() {
    let (tracking, _dir) = tracking().await;
    let here = ProjectName::default();
    let first = tracking.register(&here, "digits", "models/digits@sha256:1", Some("run")).await.unwrap();
    let same = tracking.register(&here, "digits", "models/digits@sha256:1", None).await.unwrap();
    let second = tracking.register(&here, "digits", "models/digits@sha256:2", None).await.unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(same, first);
    tracking.set_alias(&here, "digits", "champion", 1).await.unwrap();
    assert_eq!(tracking.resolve_model(&here, "digits@champion").await.unwrap().version, 1);
    tracking.set_alias(&here, "digits", "champion", 2).await.unwrap();
    for (text, version) in [("digits@champion", 2), ("digits/1", 1), ("digits", 2)] {
        assert_eq!(tracking.resolve_model(&here, text).await.unwrap().version, version, "{text}");
    }
    for (text, says, hint) in [
        ("digits@challenger", "model 'digits' has no alias 'challenger'", "its aliases are: champion"),
        ("digits/3", "model 'digits' has no version 3", "its newest version is 2"),
        ("iris@champion", "there is no registered model 'iris'", "registered are: digits"),
    ] {
        let error = tracking.resolve_model(&here, text).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint_text().unwrap()), (says, hint));
    }
    assert_eq!(tracking.resolve_model(&here, "digits/x").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(
        tracking.set_alias(&here, "digits", "champion", 9).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(tracking.register(&here, "Not A Name", "x", None).await.is_err());
}

#[tokio::test]
async fn what_one_project_has_no_other_has() {
    let (tracking, _dir) = tracking().await;
    let (here, there) = (ProjectName::default(), "fraud".parse::<ProjectName>().unwrap());
    let run = tracking.create_run(&here, "digits", "first").await.unwrap();
    let other = tracking.create_run(&there, "digits", "first").await.unwrap();
    assert_eq!(tracking.run(&there, &other).await.unwrap().experiment, "digits");
    assert_eq!(tracking.run(&there, &run).await.unwrap_err().to_string(), format!("there is no run '{run}'"));
    for project in [&here, &there] {
        let made = tracking.register(project, "digits", &format!("{project}@sha256:1"), None).await.unwrap();
        assert_eq!(made.version, 1, "{project} counts for itself");
        tracking.set_alias(project, "digits", "champion", 1).await.unwrap();
        let found = tracking.resolve_model(project, "digits@champion").await.unwrap();
        assert_eq!(found.source, format!("{project}@sha256:1"));
        assert_eq!(tracking.list_registered_models(project).await.unwrap().len(), 1);
    }
}

/// The file, or the PostgreSQL database that stands for it while `cargo xtask test` runs these tests once more.
async fn open_database(file: &std::path::Path) -> Database {
    match eyot_test_services::database_url(file) {
        Some(url) => Database::connect(&url).await.unwrap(),
        None => Database::open(file).await.unwrap(),
    }
}
