//! Where a build is heard: it does not know whether anybody watches.

/// Hears what a build says.
pub trait BuildReporter: Sync {
    /// What tools say, line by line.
    fn progress(&self, line: &str);

    /// What must be seen, such as what is installed.
    fn note(&self, text: &str);
}
