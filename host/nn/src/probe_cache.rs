//! The results of probes by earlier processes, so that a restart does not probe all its models again: `ProbeCache`
//! is a folder with a small file for each, `ProbeKey` says what a result is valid for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use eyot_core::Digest;

use crate::batch_probe::ProbeResult;
use crate::cost::CostModel;
use crate::{ModelSettings, RanOn};

/// The folder of results, if they are kept at all.
#[derive(Clone, Default)]
pub(crate) struct ProbeCache(Option<PathBuf>);

/// Everything that the result of a probe depends on: it is valid for the same model, settings, back end, versions and
/// machine.
pub(crate) struct ProbeKey(String);

/// The stored result of a probe.
#[derive(Debug)]
pub(crate) struct CachedProbe {
    pub(crate) probe_result: ProbeResult,
    pub(crate) cost: CostModel,
}

/// Rises when probes measure something else, or their results are written otherwise.
const VERSION: u32 = 1;
/// Files that are kept, each smaller than 4 KiB: components may bring any number of models.
const MAX_FILES: usize = 4096;
/// No file is larger.
const MAX_FILE_BYTES: u64 = 16 << 10;

impl ProbeKey {
    pub(crate) fn new(digest: &Digest, settings: &ModelSettings, ran_on: &RanOn) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (backend, version, target) = (&ran_on.backend, &ran_on.version, ran_on.target);
        let machine = std::env::consts::ARCH;
        let eyot = env!("CARGO_PKG_VERSION");
        let settings = settings_text(settings);
        Self(format!(
            "{VERSION} {eyot} {digest} {backend} {version} {target} {machine} {processors} {settings}"
        ))
    }
}

/// Settings as the stored keys have them, whatever the type and its fields are called.
fn settings_text(settings: &ModelSettings) -> String {
    let ModelSettings { target, precision, backend, intra_threads, spinning, arena, optimization } = settings;
    format!(
        "Settings {{ target: {target:?}, precision: {precision:?}, backend: {backend:?}, \
         intra_threads: {intra_threads:?}, spinning: {spinning:?}, arena: {arena:?}, \
         optimization: {optimization:?} }}"
    )
}

impl ProbeCache {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(Some(dir.to_owned()))
    }

    /// What is known of a model; nothing where its file is not as it was written.
    ///
    /// Whoever can write to the folder can have calls take longer, no more: the walk over the graph decides anew at
    /// every load whether they may be batched.
    pub(crate) fn recall(&self, key: &ProbeKey) -> Option<CachedProbe> {
        let file = self.file(key)?;
        let is_small = file.metadata().ok()?.len() <= MAX_FILE_BYTES;
        read(&std::fs::read_to_string(file).ok().filter(|_| is_small)?, key)
    }

    /// Stores a result. A failure to store it costs the next process a probe.
    pub(crate) fn keep(&self, key: &ProbeKey, probe_result: ProbeResult, cost: &CostModel) {
        let (Some(dir), Some(file)) = (&self.0, self.file(key)) else { return };
        let kept = std::fs::create_dir_all(dir).and_then(|()| {
            prune(dir)?;
            let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
            std::io::Write::write_all(&mut fresh, written(key, probe_result, cost).as_bytes())?;
            fresh.persist(file).map(drop).map_err(|error| error.error)
        });
        if let Err(error) = kept {
            tracing::warn!(%error, dir = %dir.display(), "the result of a model's probe cannot be stored");
        }
    }

    fn file(&self, key: &ProbeKey) -> Option<PathBuf> {
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
fn written(key: &ProbeKey, probe_result: ProbeResult, cost: &CostModel) -> String {
    let mut text = format!("{}\n{}\n", key.0, probe_result.as_str());
    for (size, nanoseconds) in cost.points() {
        // As bits, so that no digit is lost; into a string writing cannot fail.
        let _ = writeln!(text, "{:x} {:x}", size.to_bits(), nanoseconds.to_bits());
    }
    let sum = Digest::of(&text);
    let _ = writeln!(text, "{sum}");
    text
}

fn read(text: &str, key: &ProbeKey) -> Option<CachedProbe> {
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = format!("{body}\n");
    if Digest::of(&body).to_string() != sum {
        return None;
    }
    let mut lines = body.lines();
    (lines.next()? == key.0).then_some(())?;
    let said = lines.next()?;
    let probe_result = ProbeResult::ALL.into_iter().find(|probe_result| probe_result.as_str() == said)?;
    let number = |text: &str| {
        let number = f64::from_bits(u64::from_str_radix(text, 16).ok()?);
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let point = |line: &str| {
        let (size, nanoseconds) = line.split_once(' ')?;
        Some((number(size)?, number(nanoseconds)?))
    };
    let points = lines.map(point).collect::<Option<Vec<_>>>()?;
    Some(CachedProbe { probe_result, cost: CostModel::restored(&points) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;

    fn key(model: &str, version: &str) -> ProbeKey {
        ProbeKey::new(&Digest::of(model), &ModelSettings::default(), &RanOn::plain("fake", version))
    }

    fn measured() -> CostModel {
        let cost = CostModel::default();
        for (size, micros) in [(4, 100), (64, 130), (1 << 20, 90_000)] {
            cost.note(size, Duration::from_micros(micros));
        }
        cost
    }

    #[test]
    fn what_was_found_out_is_known_again_to_the_last_bit() {
        let dir = tempfile::tempdir().unwrap();
        let memory = ProbeCache::new(&dir.path().join("trials"));
        assert!(memory.recall(&key("a", "1")).is_none());
        for probe_result in ProbeResult::ALL {
            memory.keep(&key("a", "1"), probe_result, &measured());
            let kept = memory.recall(&key("a", "1")).unwrap();
            assert_eq!(kept.probe_result, probe_result);
            for size in [1, 4, 40, 1 << 30] {
                assert_eq!(kept.cost.predict(size), measured().predict(size));
            }
        }
        for other in [key("b", "1"), key("a", "2")] {
            assert!(memory.recall(&other).is_none(), "another model, another version");
        }
        let settings = ModelSettings { intra_threads: Some(2), ..ModelSettings::default() };
        let other = ProbeKey::new(&Digest::of("a"), &settings, &RanOn::plain("fake", "1"));
        assert!(memory.recall(&other).is_none(), "other settings");
        assert!(ProbeCache::default().recall(&key("a", "1")).is_none(), "without a folder nothing is kept");
    }

    /// The files of earlier versions stay valid.
    #[test]
    fn a_key_is_written_as_ever() {
        let settings = "Settings { target: Cpu, precision: F32, backend: Auto, intra_threads: None, \
                        spinning: None, arena: None, optimization: None }";
        assert_eq!(settings_text(&ModelSettings::default()), settings);
        let fixed = "Settings { target: Cpu, precision: F32, backend: Auto, intra_threads: Some(1), \
                     spinning: Some(false), arena: Some(true), optimization: Some(All) }";
        assert_eq!(settings_text(&ModelSettings::FIXED), fixed);
        assert!(key("a", "1").0.ends_with(settings), "{}", key("a", "1").0);
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_is_none() {
        let key = key("a", "1");
        let whole = written(&key, ProbeResult::Batchable, &measured());
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
        let memory = ProbeCache::new(dir.path());
        memory.keep(&key("a", "1"), ProbeResult::Batchable, &measured());
        assert!(std::fs::read_dir(dir.path()).unwrap().count() < MAX_FILES);
        assert!(memory.recall(&key("a", "1")).is_some());
    }
}
