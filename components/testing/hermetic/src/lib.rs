//! What a step can see of the machine that runs it.

#[eyot_guest::component]
mod steps {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;
    use std::time::{Instant, SystemTime};

    use eyot_guest::Result;

    pub struct Observed {
        pub random: u64,
        pub unix_nanoseconds: u64,
        pub elapsed_nanoseconds: u64,
        pub environment: Vec<(String, String)>,
        pub arguments: Vec<String>,
        pub files: Vec<String>,
        pub nan_bits: u32,
    }

    /// Sleeps for so long; answers how long that was.
    pub fn nap(seconds: u64) -> Result<u64> {
        let started = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "what a step sees of a sleep is what is tried")]
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        Ok(u64::try_from(started.elapsed().as_nanos())?)
    }

    /// Looks at chance, clocks, environment and files.
    pub fn observe(zero: f32) -> Result<Observed> {
        let started = Instant::now();
        let unix =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
        let files = std::fs::read_dir("/")
            .map(|entries| entries.flatten().map(|entry| entry.path().display().to_string()).collect());
        Ok(Observed {
            random: RandomState::new().hash_one(7),
            unix_nanoseconds: u64::try_from(unix.as_nanos())?,
            elapsed_nanoseconds: u64::try_from(started.elapsed().as_nanos())?,
            environment: std::env::vars().collect(),
            arguments: std::env::args().collect(),
            files: files.unwrap_or_default(),
            nan_bits: (zero / std::hint::black_box(zero)).to_bits(),
        })
    }
}
