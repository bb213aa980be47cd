//! Passwords, sessions and what else says who somebody is.

use super::*;
use crate::{LocalRequest, LocalSecret};

#[tokio::test]
async fn wrong_passwords_wait_longer_each_time_and_tell_nothing() {
    let world = World::peopled().await;
    let sign_in =
        async |name: &str, password: &str| world.access.sign_in(name, password, "test").await.map(drop);
    let mut told = Vec::new();
    for name in ["ana", "nobody"] {
        for _ in 0..5 {
            let refused = sign_in(name, "not the password").await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied, "{name}");
            told.push(refused.to_string());
        }
        let refused = sign_in(name, PASSWORD).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exhausted, "also the right one waits: {name}");
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    sign_in("bo", PASSWORD).await.unwrap();
    world.advance(Duration::from_secs(5));
    sign_in("ana", PASSWORD).await.unwrap();
    sign_in("ana", PASSWORD).await.unwrap();
    let long = "x".repeat(1 << 20);
    assert_eq!(sign_in("ana", &long).await.unwrap_err().kind(), ErrorKind::Denied);
    for bad in ["", "short", &long] {
        let set = world.access.set_password(&world.access.local_caller(), "ana", bad).await;
        assert_eq!(set.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let stored =
        sql("SELECT password FROM principals WHERE name = 'ana'").fetch_one(&world.db).await.unwrap();
    let stored: String = stored.get("password").unwrap();
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && !stored.contains(PASSWORD), "{stored}");
}

#[tokio::test]
async fn many_tries_at_once_are_counted_each() {
    let world = World::peopled().await;
    let tries = (0..40).map(|_| {
        let access = world.access.clone();
        tokio::spawn(async move { access.sign_in("ana", "not the password", "").await.err().unwrap().kind() })
    });
    let tries: Vec<_> = tries.collect();
    let mut tried = 0;
    for one in tries {
        tried += usize::from(one.await.unwrap() == ErrorKind::Denied);
    }
    assert_eq!(tried, 5);
}

#[tokio::test]
async fn sessions_end_by_themselves_and_when_they_are_told_to() {
    let world = World::peopled().await;
    let access = &world.access;
    let is_signed_in = async |secret: &str| {
        let caller = world.shown("cookie", &format!("a=b; eyot-session={secret}")).await.unwrap();
        caller.principal().map(|(_, name)| name.to_owned())
    };
    let first = access.sign_in("ana", PASSWORD, "one").await.unwrap();
    let second = access.sign_in("ana", PASSWORD, "two").await.unwrap();
    assert_eq!(is_signed_in(&first.secret).await.as_deref(), Some("ana"));
    assert_eq!(is_signed_in("forged").await, None);
    let ana = world.user("ana").await;
    let agents: Vec<_> =
        access.sessions(&ana).await.unwrap().into_iter().map(|session| session.agent).collect();
    assert!(agents.len() == 2 && agents.contains(&"one".to_owned()), "{agents:?}");
    let bo = world.user("bo").await;
    assert_eq!(access.end_session(&bo, &first.session.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    access.end_session(&ana, &first.session.id).await.unwrap();
    assert_eq!(is_signed_in(&first.secret).await, None);
    access.sign_out(&second.secret).await.unwrap();
    assert_eq!(is_signed_in(&second.secret).await, None);

    // Idle for half a day, or after a week.
    let idle = access.sign_in("ana", PASSWORD, "").await.unwrap();
    let used = access.sign_in("ana", PASSWORD, "").await.unwrap();
    for step in 1..=15 {
        world.advance(11 * HOUR);
        assert!(is_signed_in(&used.secret).await.is_some(), "{step}");
    }
    assert_eq!(is_signed_in(&idle.secret).await, None);
    world.advance(11 * HOUR);
    assert_eq!(is_signed_in(&used.secret).await, None, "older than a week");

    // Another password ends them all.
    let one = access.sign_in("ana", PASSWORD, "").await.unwrap();
    let caller = world.shown("cookie", &format!("__Host-eyot={}", one.secret)).await.unwrap();
    access.set_password(&caller, "ana", "another four words").await.unwrap();
    assert_eq!(is_signed_in(&one.secret).await, None);
}

#[tokio::test]
async fn credentials_that_are_none_are_refused() {
    let world = World::peopled().await;
    let basic = |text: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    for shown in
        ["", "Bearer", "Bearer x", "Basic !!!", "Digest x", &basic("ana"), "Bearer eyot_", "Bearer a.b"]
    {
        let refused = world.shown("authorization", shown).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{shown}");
    }
    let refused = world.shown("authorization", &basic(&format!("ana:{PASSWORD}"))).await.unwrap_err();
    assert!(refused.to_string().contains("shows a token") && !format!("{refused:?}").contains(PASSWORD));
    let nobody = world.shown("authorization", &basic("ana:")).await.unwrap();
    assert!(!nobody.is_known(), "some clients send an empty password when they have none");
    let made =
        world.access.create_token(&world.user("ana").await, &project("fraud"), token("t", &[], None)).await;
    let secret = made.unwrap().secret;
    assert_eq!(
        world.shown("authorization", &basic(&format!("x:{secret}"))).await.unwrap().actor(),
        "user:ana token:t"
    );
}

#[tokio::test]
async fn the_owner_of_the_folder_is_known_by_its_secret() {
    let world = World::peopled().await;
    let secret = LocalSecret::random();
    assert!(secret.matches(secret.reveal()));
    assert!(!secret.matches(&secret.reveal()[1..]) && !secret.matches(""));
    assert!(!format!("{secret:?}").contains(secret.reveal()));
    let settings = AccessSettings { local_secret: Some(secret.clone()), ..AccessSettings::default() };
    let access = AccessStore::open(world.db.clone(), settings).await.unwrap();
    let request =
        Request::get("/").header("authorization", format!("Bearer {}", secret.reveal())).body(()).unwrap();
    let caller = access.authenticate(&request.into_parts().0).await.unwrap();
    assert_eq!((&*caller.actor(), caller.role_in(&project("fraud"))), ("local", Some(Role::Owner)));
    let mut request = Request::get("/").body(()).unwrap();
    request.extensions_mut().insert(LocalRequest);
    assert_eq!(access.authenticate(&request.into_parts().0).await.unwrap().actor(), "local");
}
