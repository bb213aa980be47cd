#![allow(clippy::unwrap_used)]

mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use eyot_core::config::AnonymousAccess;
use eyot_core::{Error, ErrorKind, ManualClock, Permission, ProjectName, Role, Timestamp};
use eyot_meta::{Database, sql};
use eyot_test_services::give_up_after;
use http::Request;

use crate::{AccessSettings, AccessStore, Caller, NewToken, RegistryAction};

struct World {
    access: AccessStore,
    db: Database,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

const PASSWORD: &str = "four unrelated words here";
const HOUR: Duration = Duration::from_secs(3600);

impl World {
    async fn new(anonymous: AnonymousAccess) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = open_database(&dir.path().join("eyot.db")).await;
        let clock = Arc::new(ManualClock::default());
        let settings = AccessSettings { anonymous, clock: clock.clone(), ..AccessSettings::default() };
        let access = AccessStore::open(db.clone(), settings).await.unwrap();
        Self { access, db, clock, _dir: dir }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(i64::try_from(by.as_millis()).unwrap());
    }

    /// With the owner `root`, the users `ana` and `bo`, and the projects `fraud` and `churn`: `ana` is an admin of
    /// `fraud` and a viewer of `churn`, `bo` an editor of `churn`.
    async fn peopled() -> Self {
        let world = Self::new(AnonymousAccess::Auto).await;
        let (access, local) = (&world.access, world.access.local_caller());
        for name in ["root", "ana", "bo"] {
            access.add_user(&local, name, Some(PASSWORD), false).await.unwrap();
        }
        for (name, members) in [
            ("fraud", vec![("ana".to_owned(), Role::Admin)]),
            ("churn", vec![("ana".to_owned(), Role::Viewer), ("bo".to_owned(), Role::Editor)]),
        ] {
            access.create_project(&local, &project(name), &members).await.unwrap();
        }
        world
    }

    async fn shown(&self, header: &str, value: &str) -> Result<Caller, Error> {
        let request = Request::get("/").header(header, value).body(()).unwrap();
        self.access.authenticate(&request.into_parts().0).await
    }

    async fn bearer(&self, secret: &str) -> Result<Caller, Error> {
        self.shown("authorization", &format!("Bearer {secret}")).await
    }

    /// A caller with a token that `eyot login` got.
    async fn user(&self, name: &str) -> Caller {
        let token = NewToken { name: format!("{name}-{}", eyot_core::new_id()), ..NewToken::default() };
        let secret = self.access.log_in(name, PASSWORD, token).await.unwrap().secret;
        self.bearer(&secret).await.unwrap()
    }
}

/// The file, or the PostgreSQL database that stands for it while `cargo xtask test` runs these tests once more.
async fn open_database(file: &std::path::Path) -> Database {
    match eyot_test_services::database_url(file) {
        Some(url) => Database::connect(&url).await.unwrap(),
        None => Database::open(file).await.unwrap(),
    }
}

fn project(name: &str) -> ProjectName {
    name.parse().unwrap()
}

fn token(name: &str, scopes: &[&str], only: Option<&str>) -> NewToken {
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    NewToken { name: name.to_owned(), scopes, project: only.map(project), expires: None }
}

#[tokio::test]
async fn without_users_a_laptop_is_open_and_the_first_user_closes_it() {
    let world = World::new(AnonymousAccess::Auto).await;
    let (access, nobody) = (&world.access, Request::get("/").body(()).unwrap().into_parts().0);
    let role = async || access.authenticate(&nobody).await.unwrap().role_in(&ProjectName::default());
    assert_eq!((access.has_users(), role().await), (false, Some(Role::Owner)));
    let added = access.add_user(&access.local_caller(), "ana", None, false).await.unwrap();
    assert!(added.user.is_owner && added.password.is_some_and(|password| password.len() >= 20));
    assert_eq!((access.has_users(), role().await), (true, None));
    // So it stays when the server starts again.
    let again = AccessStore::open(world.db.clone(), AccessSettings::default()).await.unwrap();
    assert!(again.has_users());
    access.remove_user(&access.local_caller(), "ana").await.unwrap();
    assert_eq!((access.has_users(), role().await), (false, Some(Role::Owner)));
}

#[tokio::test]
async fn roles_are_those_of_the_project_that_is_asked_for() {
    let world = World::peopled().await;
    let [root, ana, bo] = [world.user("root").await, world.user("ana").await, world.user("bo").await];
    for (caller, name, role) in [
        (&root, "fraud", Some(Role::Owner)),
        (&root, "default", Some(Role::Owner)),
        (&ana, "fraud", Some(Role::Admin)),
        (&ana, "churn", Some(Role::Viewer)),
        (&ana, "default", None),
        (&bo, "fraud", None),
        (&bo, "churn", Some(Role::Editor)),
        (&bo, "nowhere", None),
    ] {
        assert_eq!(caller.role_in(&project(name)), role, "{} {name}", caller.actor());
    }
    for (caller, action, repository, may) in [
        (&ana, RegistryAction::Delete, "fraud/x", true),
        (&ana, RegistryAction::Pull, "churn/x", true),
        (&ana, RegistryAction::Push, "churn/x", false),
        (&ana, RegistryAction::Pull, "x", false),
        (&bo, RegistryAction::Push, "churn/x", true),
        (&bo, RegistryAction::Pull, "fraud/x", false),
        // The name of a project alone is a repository of `default`.
        (&bo, RegistryAction::Pull, "churn", false),
        (&root, RegistryAction::Delete, "x", true),
    ] {
        assert_eq!(caller.may(action, Some(repository)), may, "{} {action:?} {repository}", caller.actor());
    }
    for (caller, name, permission, message, hint) in [
        (&bo, "default", Permission::RunRead, "you are no member", "eyot project ls"),
        (&bo, "churn", Permission::DeploymentWrite, "you are its editor", "make you its deployer"),
        (&ana, "fraud", Permission::GarbageCollect, "you are its admin", "an owner of the installation"),
    ] {
        let refused = caller.require(permission, &project(name)).unwrap_err();
        assert!(refused.to_string().contains(message), "{refused}");
        assert!(refused.hint_text().unwrap().contains(hint), "{refused:?}");
    }
    // A project that one has no part in is not there; in one's own it is told why not.
    for (caller, name, kind) in [
        (&bo, "fraud", ErrorKind::NotFound),
        (&bo, "nowhere", ErrorKind::NotFound),
        (&bo, "churn", ErrorKind::Denied),
    ] {
        let refused = caller.require(Permission::DeploymentWrite, &project(name)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{name}");
    }
}

#[tokio::test]
async fn a_token_never_allows_more_than_its_user_may_now() {
    let world = World::peopled().await;
    let (access, ana) = (&world.access, world.user("ana").await);
    let roles = async |secret: &str| {
        let caller = world.bearer(secret).await.unwrap();
        ["fraud", "churn", "default"].map(|name| caller.role_in(&project(name)))
    };
    for (name, scopes, only, expected) in [
        ("all", vec![], None, [Some(Role::Admin), Some(Role::Viewer), None]),
        ("bound", vec![], Some("fraud"), [Some(Role::Admin), None, None]),
        ("less", vec!["project:fraud:editor"], None, [Some(Role::Editor), None, None]),
        ("both", vec!["project:fraud:editor"], Some("churn"), [None, None, None]),
        ("pulls", vec!["repository:*:pull"], None, [None, None, None]),
    ] {
        let made = access.create_token(&ana, &project("fraud"), token(name, &scopes, only)).await.unwrap();
        assert_eq!(roles(&made.secret).await, expected, "{name}");
        assert_eq!(made.token.owner.as_deref(), Some("ana"));
    }
    let more =
        access.create_token(&ana, &project("fraud"), token("more", &["project:churn:editor"], None)).await;
    assert_eq!(more.unwrap_err().kind(), ErrorKind::Denied);

    let pulls =
        access.create_token(&ana, &project("fraud"), token("p", &["repository:*:*"], None)).await.unwrap();
    let pulls = world.bearer(&pulls.secret).await.unwrap();
    assert!(pulls.may_pull("churn/x") && pulls.may(RegistryAction::Push, Some("fraud/x")));
    assert!(!pulls.may(RegistryAction::Push, Some("churn/x")) && !pulls.may_pull("x"));

    // What the user loses their tokens lose with the next request, short-lived ones as well.
    let made = access.create_token(&ana, &project("fraud"), token("later", &[], None)).await.unwrap();
    let holder = world.bearer(&made.secret).await.unwrap();
    let asked = ["repository:fraud/x:pull".parse().unwrap()];
    let short = access.grant(&holder, &asked, Timestamp(i64::MAX)).unwrap();
    let granted = world.bearer(&short).await.unwrap();
    assert!(granted.may_pull("fraud/x") && !granted.may_pull("fraud/y"));
    let root = world.user("root").await;
    access.set_member(&root, &project("fraud"), "ana", Role::Viewer).await.unwrap();
    assert_eq!(roles(&made.secret).await, [Some(Role::Viewer), Some(Role::Viewer), None]);
    access.remove_member(&root, &project("fraud"), "ana").await.unwrap();
    assert_eq!(roles(&made.secret).await, [None, Some(Role::Viewer), None]);
    assert!(!world.bearer(&short).await.unwrap().may_pull("fraud/x"));
    access.remove_user(&root, "ana").await.unwrap();
    assert_eq!(world.bearer(&made.secret).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(world.bearer(&short).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_narrowed_token_gets_at_none_that_is_wider() {
    let world = World::peopled().await;
    let (access, ana, fraud) = (&world.access, world.user("ana").await, project("fraud"));
    access.create_token(&ana, &fraud, token("wide", &[], None)).await.unwrap();
    for (name, scopes, only) in [
        ("viewer", vec!["project:fraud:viewer"], None),
        ("pulls", vec!["repository:*:pull"], None),
        ("bound", vec![], Some("churn")),
    ] {
        let made = access.create_token(&ana, &fraud, token(name, &scopes, only)).await.unwrap();
        let narrow = world.bearer(&made.secret).await.unwrap();
        let other = format!("from-{name}");
        let created = access.create_token(&narrow, &fraud, token(&other, &[], Some("fraud"))).await;
        assert_eq!(created.unwrap_err().kind(), ErrorKind::Denied, "{name}");
        for refused in [
            access.rotate_token(&narrow, &fraud, "wide", HOUR).await.map(drop),
            access.revoke_token(&narrow, &fraud, "wide").await,
        ] {
            assert!(matches!(refused.unwrap_err().kind(), ErrorKind::Denied | ErrorKind::NotFound), "{name}");
        }
        let unsaid = access.create_token(&narrow, &fraud, token(&other, &[], None)).await;
        match only {
            Some(only) => assert_eq!(unsaid.unwrap().token.project, Some(project(only))),
            None => assert_eq!(unsaid.unwrap_err().kind(), ErrorKind::Denied, "{name}"),
        }
        let short = access.grant(&narrow, &["repository:fraud/x:pull".parse().unwrap()], Timestamp(i64::MAX));
        let short = world.bearer(&short.unwrap()).await.unwrap();
        assert_eq!(access.tokens(&short, &fraud).await.unwrap_err().kind(), ErrorKind::Denied, "{name}");
    }
}

#[tokio::test]
async fn nobody_reaches_for_more_than_they_have() {
    let world = World::peopled().await;
    let access = &world.access;
    let [root, ana, bo] = [world.user("root").await, world.user("ana").await, world.user("bo").await];
    let (fraud, churn) = (project("fraud"), project("churn"));
    // Everything that changes who may do what, tried by an admin of another project.
    let owner = "owner".to_owned();
    assert_eq!(access.users(&ana).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(access.add_user(&ana, &owner, None, true).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(access.remove_user(&ana, "root").await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(access.set_password(&ana, "root", PASSWORD).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(
        access.create_project(&ana, &project("own"), &[]).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(access.remove_project(&ana, &churn).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(
        access.set_member(&ana, &churn, "ana", Role::Admin).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(
        access.set_member(&bo, &fraud, "bo", Role::Viewer).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(access.remove_member(&ana, &churn, "bo").await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(
        access.create_service(&ana, &churn, "ci", Role::Viewer).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    // Nobody is an owner of a project.
    for refused in [
        access.set_member(&root, &fraud, "bo", Role::Owner).await.map(drop),
        access.create_service(&root, &fraud, "ci", Role::Owner).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    // Tokens of others are not there, for whoever does not manage them.
    access.create_token(&root, &ProjectName::default(), token("of-root", &[], None)).await.unwrap();
    for caller in [&ana, &bo] {
        let refused = access.revoke_token(caller, &fraud, "of-root").await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotFound | ErrorKind::Denied), "{refused:?}");
        let refused = access.rotate_token(caller, &fraud, "of-root", HOUR).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotFound | ErrorKind::Denied), "{refused:?}");
        let seen = access.tokens(caller, &fraud).await.unwrap();
        assert!(seen.iter().all(|token| token.owner.as_deref() == caller.principal().map(|(_, name)| name)));
    }
    assert_eq!(
        access.remove_user(&root, "root").await.unwrap_err().kind(),
        ErrorKind::Conflict,
        "the last owner"
    );
}

#[tokio::test]
async fn services_stay_in_their_project() {
    let world = World::peopled().await;
    let (access, ana) = (&world.access, world.user("ana").await);
    let (fraud, churn) = (project("fraud"), project("churn"));
    let (_, made) = access.create_service(&ana, &fraud, "ci", Role::Editor).await.unwrap();
    access.create_service_token(&ana, &fraud, "ci", token("nightly", &[], None)).await.unwrap();
    // A token has the name: then there is no service either.
    let half = access.create_service(&ana, &fraud, "nightly", Role::Viewer).await.map(drop);
    assert_eq!(half.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(access.members(&fraud).await.unwrap().iter().all(|member| member.name != "nightly"));
    let ci = world.bearer(&made.secret).await.unwrap();
    assert_eq!((ci.role_in(&fraud), ci.role_in(&churn)), (Some(Role::Editor), None));
    assert_eq!((ci.bound_project(), &*ci.actor()), (Some(&fraud), "service:ci token:ci"));
    let root = world.user("root").await;
    assert_eq!(
        access.set_member(&root, &churn, "ci", Role::Viewer).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(
        access.create_service(&root, &churn, "ci", Role::Viewer).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let other = access.create_service_token(&root, &churn, "ci", token("x", &[], None)).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::NotFound);
    access.remove_service(&ana, &fraud, "ci").await.unwrap();
    assert_eq!(world.bearer(&made.secret).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn projects_end_when_they_are_empty_and_their_names_are_not_given_again() {
    let world = World::peopled().await;
    let (access, root) = (&world.access, world.user("root").await);
    let names = async || {
        let projects = access.projects(&root).await.unwrap();
        projects.iter().map(|project| project.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["churn", "default", "fraud"]);
    let insert = "INSERT INTO experiments (id, project, name, created_at) VALUES ('1', 'churn', 'a', 0)";
    sql(insert).execute(&world.db).await.unwrap();
    let held = access.remove_project(&root, &project("churn")).await.unwrap_err();
    assert_eq!(
        (held.kind(), held.to_string().as_str()),
        (ErrorKind::Conflict, "the project 'churn' still has experiments")
    );
    sql("DELETE FROM experiments").execute(&world.db).await.unwrap();
    access.remove_project(&root, &project("churn")).await.unwrap();
    assert_eq!(names().await, ["default", "fraud"]);
    assert_eq!(world.user("bo").await.role_in(&project("churn")), None);
    assert_eq!(access.project_of("churn/x"), ProjectName::default());
    let again = access.create_project(&root, &project("churn"), &[]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(
        access.remove_project(&root, &ProjectName::default()).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );

    // What is in the registry stays in its project.
    let insert = "INSERT INTO manifests (repository, digest, media_type, size, kind, created_at) \
                  VALUES ('acme/x', 'sha256:1', 'a', 1, 'other', 0)";
    sql(insert).execute(&world.db).await.unwrap();
    for (name, kind) in
        [("acme", Some(ErrorKind::Conflict)), ("acm", None), ("acme0", None), ("acme-x", None)]
    {
        let made = access.create_project(&root, &project(name), &[]).await;
        assert_eq!(made.err().map(|error| error.kind()), kind, "{name}");
    }
    // A member who is nobody undoes the whole of it.
    let unknown = access.create_project(&root, &project("new"), &[("nobody".to_owned(), Role::Viewer)]).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(access.check_project(&project("new")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn repositories_are_named_from_every_project() {
    let world = World::peopled().await;
    for (from, name, expected) in [
        ("default", "iris", "iris"),
        ("default", "acme/iris", "acme/iris"),
        ("default", "fraud/iris", "fraud/iris"),
        ("fraud", "iris", "fraud/iris"),
        ("fraud", "acme/iris", "fraud/acme/iris"),
        ("fraud", "fraud/iris", "fraud/iris"),
        ("fraud", "churn/iris", "churn/iris"),
        ("fraud", "default/iris", "iris"),
        ("fraud", "churn", "fraud/churn"),
    ] {
        assert_eq!(world.access.repository_in(&project(from), name), expected, "{from} {name}");
    }
}

#[tokio::test]
async fn a_rotated_token_has_two_secrets_for_a_while() {
    let world = World::peopled().await;
    let (access, bo) = (&world.access, world.user("bo").await);
    let churn = project("churn");
    let old = access.create_token(&bo, &churn, token("laptop", &[], None)).await.unwrap();
    let new = access.rotate_token(&bo, &churn, "laptop", HOUR).await.unwrap();
    for secret in [&old.secret, &new.secret] {
        assert_eq!(world.bearer(secret).await.unwrap().role_in(&churn), Some(Role::Editor));
    }
    world.advance(HOUR + Duration::from_secs(1));
    assert_eq!(world.bearer(&old.secret).await.unwrap_err().kind(), ErrorKind::Denied);
    world.bearer(&new.secret).await.unwrap();
    access.revoke_token(&bo, &churn, "laptop").await.unwrap();
    assert_eq!(world.bearer(&new.secret).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(access.revoke_token(&bo, &churn, "laptop").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn whoever_revokes_and_goes_away_leaves_one_truth() {
    let world = World::peopled().await;
    let (access, local, here) = (&world.access, world.access.local_caller(), ProjectName::default());
    for polls in 0.. {
        let name = format!("token-{polls}");
        let made =
            access.create_token(&local, &here, token(&name, &["repository:*:pull"], None)).await.unwrap();
        world.bearer(&made.secret).await.unwrap();
        let ended = give_up_after(polls, access.revoke_token(&local, &here, &name)).await;
        drop(world.db.begin().await.unwrap());
        let tokens = access.tokens(&local, &here).await.unwrap();
        let token = tokens.into_iter().find(|token| token.name == name).unwrap();
        let is_good = world.bearer(&made.secret).await.is_ok();
        assert_eq!(is_good, token.revoked.is_none(), "given up after {polls} polls");
        if ended.is_some() {
            assert!(!is_good);
            break;
        }
    }
}
