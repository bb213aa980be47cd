//! Passwords: only their hashes are stored, and trying them is slow for everybody.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use eyot_core::{Error, Result, new_id};
use tokio::sync::Semaphore;

/// What a password has at least.
pub const MIN_PASSWORD_BYTES: usize = 12;
/// More is no password; hashing it would only take time.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// Hashes that are computed at once: each takes 19 MiB and a processor for some tens of milliseconds.
const MAX_HASHING_COUNT: usize = 2;

/// Where passwords are hashed, a few at a time.
pub(crate) struct PasswordChecks {
    places: Arc<Semaphore>,
}

impl Default for PasswordChecks {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_HASHING_COUNT)) }
    }
}

impl PasswordChecks {
    /// The hash of a new password, by argon2id with 19 MiB and two passes, in the PHC format.
    ///
    /// Fails with `Invalid` when it is too short or too long.
    pub(crate) async fn hash(&self, password: &str) -> Result<String> {
        if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.len()) {
            return Err(Error::invalid(format!(
                "a password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes, and this has {}",
                password.len()
            ))
            .hint("several words that have nothing to do with each other are easy to remember"));
        }
        let password = password.to_owned();
        self.aside(move || {
            let hashed = Argon2::default().hash_password(password.as_bytes());
            hashed.map(|hash| hash.to_string()).map_err(|error| failed(&error))
        })
        .await
    }

    /// Whether a password is the one of a hash. Without a hash it takes as long and is none.
    pub(crate) async fn check(&self, password: &str, hash: Option<String>) -> Result<bool> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        let password = password.to_owned();
        self.aside(move || {
            let Some(hash) = hash else {
                // Whoever asks must not learn from the time it takes that there is no such user.
                let hashed = Argon2::default().hash_password(password.as_bytes());
                return hashed.map(|_| false).map_err(|error| failed(&error));
            };
            let hash = PasswordHash::new(&hash)
                .map_err(|error| Error::corrupt("a stored password is no hash").because(error))?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let place = self.places.clone().acquire_owned().await;
        let place =
            place.map_err(|error| Error::internal("no password is checked any more").because(error))?;
        let worked = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        worked.await.map_err(|error| Error::internal("checking a password ended early").because(error))?
    }
}

fn failed(error: &argon2::password_hash::Error) -> Error {
    Error::internal(format!("a password cannot be hashed: {error}"))
}

/// A password that nobody guesses, for who is given none.
pub(crate) fn random_password() -> String {
    let mut password = new_id();
    password.truncate(24);
    password
}
