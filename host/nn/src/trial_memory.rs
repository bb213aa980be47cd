//! What trials of earlier processes found out, so that a restart does not repeat those of all its models: `TrialMemory`
//! is a folder with a small file for each, `TrialKey` says what a trial is good for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use eyot_core::Digest;

use crate::cost::Cost;
use crate::trial::Verdict;
use crate::{RanOn, Settings};

/// Where trials are kept, if they are.
#[derive(Clone, Default)]
pub(crate) struct TrialMemory(Option<PathBuf>);

/// Everything that a trial depends on. One of a different model, setting, back end, version of either, or machine is
/// another trial.
pub(crate) struct TrialKey(String);

/// What a trial found out.
#[derive(Debug)]
pub(crate) struct KeptTrial {
    pub(crate) verdict: Verdict,
    pub(crate) cost: Cost,
}

/// Rises when trials ask for something else, or what they found is written otherwise.
const VERSION: u32 = 1;
/// Files that are kept, each smaller than 4 KiB: components may bring any number of models.
const MAX_FILES: usize = 4096;
/// No trial is larger.
const MAX_FILE_BYTES: u64 = 16 << 10;

impl TrialKey {
    pub(crate) fn new(digest: &Digest, settings: &Settings, ran_on: &RanOn) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (backend, version, target) = (&ran_on.backend, &ran_on.version, ran_on.target);
        let machine = std::env::consts::ARCH;
        let eyot = env!("CARGO_PKG_VERSION");
        Self(format!(
            "{VERSION} {eyot} {digest} {backend} {version} {target} {machine} {processors} {settings:?}"
        ))
    }
}

impl TrialMemory {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(Some(dir.to_owned()))
    }

    /// What is known of a model; nothing where its file is not as it was written.
    ///
    /// Whoever can write to the folder can have calls take longer, no more: the walk over the graph decides anew at
    /// every load whether they may be joined.
    pub(crate) fn recall(&self, key: &TrialKey) -> Option<KeptTrial> {
        let file = self.file(key)?;
        let is_small = file.metadata().ok()?.len() <= MAX_FILE_BYTES;
        read(&std::fs::read_to_string(file).ok().filter(|_| is_small)?, key)
    }

    /// Keeps what was found out. That it could not be kept costs the next process a trial.
    pub(crate) fn keep(&self, key: &TrialKey, verdict: Verdict, cost: &Cost) {
        let (Some(dir), Some(file)) = (&self.0, self.file(key)) else { return };
        let kept = std::fs::create_dir_all(dir).and_then(|()| {
            prune(dir)?;
            let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
            std::io::Write::write_all(&mut fresh, written(key, verdict, cost).as_bytes())?;
            fresh.persist(file).map(drop).map_err(|error| error.error)
        });
        if let Err(error) = kept {
            tracing::warn!(%error, dir = %dir.display(), "what a model's trial found out cannot be kept");
        }
    }

    fn file(&self, key: &TrialKey) -> Option<PathBuf> {
        let name = Digest::of(&key.0).to_string().replace(':', "-");
        self.0.as_ref().map(|dir| dir.join(name))
    }
}

/// Makes room for another file, where there are too many of those that were written longest ago.
fn prune(dir: &Path) -> std::io::Result<()> {
    let files: Vec<_> = std::fs::read_dir(dir)?.filter_map(Result::ok).collect();
    if files.len() < MAX_FILES {
        return Ok(());
    }
    let age = |file: &std::fs::DirEntry| file.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut aged: Vec<_> = files.iter().map(|file| (age(file), file.path())).collect();
    aged.sort();
    // Some at once: the next does not look at all of them again.
    for (_, path) in aged.iter().take(MAX_FILES / 8) {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The key, what was found, and a sum over both: half a file is none.
fn written(key: &TrialKey, verdict: Verdict, cost: &Cost) -> String {
    let mut text = format!("{}\n{}\n", key.0, verdict.as_str());
    for (size, nanoseconds) in cost.points() {
        // As bits, so that no digit is lost; into a string writing cannot fail.
        let _ = writeln!(text, "{:x} {:x}", size.to_bits(), nanoseconds.to_bits());
    }
    let sum = Digest::of(&text);
    let _ = writeln!(text, "{sum}");
    text
}

fn read(text: &str, key: &TrialKey) -> Option<KeptTrial> {
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = format!("{body}\n");
    if Digest::of(&body).to_string() != sum {
        return None;
    }
    let mut lines = body.lines();
    (lines.next()? == key.0).then_some(())?;
    let said = lines.next()?;
    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == said)?;
    let number = |text: &str| {
        let number = f64::from_bits(u64::from_str_radix(text, 16).ok()?);
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let point = |line: &str| {
        let (size, nanoseconds) = line.split_once(' ')?;
        Some((number(size)?, number(nanoseconds)?))
    };
    let points = lines.map(point).collect::<Option<Vec<_>>>()?;
    Some(KeptTrial { verdict, cost: Cost::restored(&points) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;

    fn key(model: &str, version: &str) -> TrialKey {
        TrialKey::new(&Digest::of(model), &Settings::default(), &RanOn::plain("fake", version))
    }

    fn measured() -> Cost {
        let cost = Cost::default();
        for (size, micros) in [(4, 100), (64, 130), (1 << 20, 90_000)] {
            cost.note(size, Duration::from_micros(micros));
        }
        cost
    }

    #[test]
    fn what_was_found_out_is_known_again_to_the_last_bit() {
        let dir = tempfile::tempdir().unwrap();
        let memory = TrialMemory::new(&dir.path().join("trials"));
        assert!(memory.recall(&key("a", "1")).is_none());
        for verdict in Verdict::ALL {
            memory.keep(&key("a", "1"), verdict, &measured());
            let kept = memory.recall(&key("a", "1")).unwrap();
            assert_eq!(kept.verdict, verdict);
            for size in [1, 4, 40, 1 << 30] {
                assert_eq!(kept.cost.predict(size), measured().predict(size));
            }
        }
        for other in [key("b", "1"), key("a", "2")] {
            assert!(memory.recall(&other).is_none(), "another model, another version");
        }
        let settings = Settings { intra_threads: Some(2), ..Settings::default() };
        let other = TrialKey::new(&Digest::of("a"), &settings, &RanOn::plain("fake", "1"));
        assert!(memory.recall(&other).is_none(), "other settings");
        assert!(TrialMemory::default().recall(&key("a", "1")).is_none(), "without a folder nothing is kept");
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_is_none() {
        let key = key("a", "1");
        let whole = written(&key, Verdict::Joins, &measured());
        assert!(read(&whole, &key).is_some());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut], &key).is_none(), "cut at {cut}");
            let mut flipped = whole.clone().into_bytes();
            flipped[cut] ^= 1;
            if let Ok(flipped) = String::from_utf8(flipped) {
                assert!(read(&flipped, &key).is_none(), "flipped at {cut}");
            }
        }
    }

    #[test]
    fn there_are_never_too_many() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_FILES {
            std::fs::write(dir.path().join(format!("old-{number}")), "").unwrap();
        }
        let memory = TrialMemory::new(dir.path());
        memory.keep(&key("a", "1"), Verdict::Joins, &measured());
        assert!(std::fs::read_dir(dir.path()).unwrap().count() < MAX_FILES);
        assert!(memory.recall(&key("a", "1")).is_some());
    }
}
