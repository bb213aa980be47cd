use eyot_core::{ErrorKind, ProjectName};
use serde_json::json;

use super::{Opened, event};
use crate::{AuditAction, RequestOrigin, sql};

/// Two servers write into the logs of two projects, as others may read them.
pub(super) async fn the_audit_log_of_each_project_is_a_chain(opened: Opened) {
    let [fraud, churn] = ["fraud", "churn"].map(|name| name.parse::<ProjectName>().unwrap());
    for number in 0..6 {
        let db = if number % 2 == 0 { &opened.db } else { &opened.other };
        let origin = RequestOrigin::new(Some([10, 0, 0, 7].into()), Some(format!("request-{number}")));
        let write = async {
            RequestOrigin::set_actor(|| "user:ana".into());
            let mut tx = db.begin().await.unwrap();
            tx.emit(event("deployment.changed").in_project(&fraud));
            tx.audit(AuditAction::done(&fraud, "tag.set", "fraud/x", json!({ "tag": "1.0", "p": 0.1 })));
            tx.audit(AuditAction::done(&churn, "tag.set", "churn/x", json!({})));
            tx.commit().await.unwrap();
        };
        origin.scope(write).await;
    }
    let mut tx = opened.db.begin().await.unwrap();
    tx.audit(AuditAction::done(&fraud, "blob.collected", "x", json!({})));
    drop(tx);
    opened.db.append_audit(AuditAction::done(&churn, "blob.collected", "x", json!({}))).await.unwrap();

    let checked = opened.other.check_audit().await.unwrap();
    let counts: Vec<_> = checked.iter().map(|log| (log.project.as_str(), log.entries)).collect();
    assert_eq!(counts, [("churn", 7), ("default", 0), ("fraud", 12)]);
    let log = opened.other.audit(&fraud, 2, 1).await.unwrap();
    let [entry] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((entry.actor.as_str(), entry.request_id.as_str()), ("user:ana", "request-1"));
    assert_eq!((entry.address.as_str(), entry.detail.get()), ("10.0.0.7", r#"{"n":1}"#));
    assert_eq!(opened.db.audit(&churn, 6, 9).await.unwrap()[0].actor, "server");

    for change in [
        "UPDATE audit_entries SET actor = 'user:bo' WHERE project = 'fraud' AND id = 3",
        "UPDATE audit_entries SET detail = '{\"n\":2}' WHERE project = 'fraud' AND id = 3",
        "UPDATE audit_entries SET outcome = 'denied' WHERE project = 'fraud' AND id = 12",
        "UPDATE audit_entries SET at = at + 1 WHERE project = 'fraud' AND id = 1",
        // Text moved from one field into the next.
        "UPDATE audit_entries SET action = '', object = action || object WHERE project = 'fraud' AND id = 2",
        "UPDATE audit_entries SET id = 13 WHERE project = 'fraud' AND id = 2",
        "DELETE FROM audit_entries WHERE project = 'fraud' AND id = 1",
        "DELETE FROM audit_entries WHERE project = 'fraud' AND id = 5",
        "DELETE FROM audit_entries WHERE project = 'fraud' AND id = 12",
        "DELETE FROM audit_entries WHERE project = 'fraud'",
    ] {
        let read = sql("SELECT * FROM audit_entries WHERE project = 'fraud'");
        let before = read.fetch_all(&opened.db).await.unwrap().len();
        sql("CREATE TABLE kept AS SELECT * FROM audit_entries").execute(&opened.db).await.unwrap();
        sql(change).execute(&opened.db).await.unwrap();
        let error = opened.db.check_audit().await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Corrupt && error.chain().contains("'fraud'"),
            "{change}: {error:?}"
        );
        for restore in
            ["DELETE FROM audit_entries", "INSERT INTO audit_entries SELECT * FROM kept", "DROP TABLE kept"]
        {
            sql(restore).execute(&opened.db).await.unwrap();
        }
        let after = sql("SELECT * FROM audit_entries WHERE project = 'fraud'");
        assert_eq!(after.fetch_all(&opened.db).await.unwrap().len(), before);
        opened.db.check_audit().await.unwrap();
    }
}
