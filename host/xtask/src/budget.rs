//! Owns how long the stages of a run of CI took (`StageTime`), and prints them beside what they may take.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::process::root;

/// Names the file that stages are written to; `.ci/run` sets it and writes its gates there, too.
const FILE_VARIABLE: &str = "EYOT_BUDGET";
/// Where nextest writes its report: in the checkout (`.config/nextest.toml`), wherever cargo compiles to.
const JUNIT_REPORT: &str = "target/nextest/default/junit.xml";
/// What a whole run from nothing may take of the processor, on two slow cores.
const PROCESSOR_MINUTES: u64 = 80;
const SLOWEST_TESTS_COUNT: usize = 10;

/// One line of the file: what was done, and the seconds that it took.
#[derive(Debug, PartialEq)]
struct StageTime {
    name: String,
    elapsed: f64,
    processor: f64,
}

/// One test of the runner's report.
#[derive(Debug, PartialEq)]
struct TestTime {
    name: String,
    elapsed: f64,
}

/// Does something, and writes down how long it took where CI asks for that.
pub(crate) fn stage<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (started, before) = (Instant::now(), processor_time_of_children());
    let done = work();
    if let Some(file) = std::env::var_os(FILE_VARIABLE) {
        let stage = StageTime {
            name: format!("  {name}"),
            elapsed: started.elapsed().as_secs_f64(),
            processor: processor_time_of_children().saturating_sub(before).as_secs_f64(),
        };
        stage.append(Path::new(&file))?;
    }
    done
}

/// Prints what a run's stages took, its slowest tests, and how its tests ended, which is the last line.
pub(crate) fn report(stages: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(stages).with_context(|| format!("cannot read {}", stages.display()))?;
    let stages = text.lines().map(StageTime::parse).collect::<Result<Vec<_>>>()?;
    let junit = root().join(JUNIT_REPORT);
    let junit =
        std::fs::read_to_string(&junit).with_context(|| format!("cannot read {}", junit.display()))?;
    print!("{}", rendered(&stages, &junit));
    Ok(())
}

fn rendered(stages: &[StageTime], junit: &str) -> String {
    let mut lines = vec!["elapsed s  processor s".to_owned()];
    lines.extend(
        stages
            .iter()
            .map(|stage| format!("{:>9.0}  {:>11.0}  {}", stage.elapsed, stage.processor, stage.name)),
    );
    // Stages inside of a gate are in the gate's time already.
    let gates = stages.iter().filter(|stage| !stage.name.starts_with(' '));
    let (elapsed, processor) = gates.fold((0.0, 0.0), |(elapsed, processor), stage| {
        (elapsed + stage.elapsed, processor + stage.processor)
    });
    let allowed = (PROCESSOR_MINUTES * 60) as f64;
    let verdict = if processor > allowed { "over" } else { "within" };
    lines.push(format!(
        "{elapsed:>9.0}  {processor:>11.0}  in all, {verdict} the budget of {PROCESSOR_MINUTES} minutes of processor time"
    ));
    let mut tests = test_times(junit);
    tests.sort_by(|one, other| other.elapsed.total_cmp(&one.elapsed));
    lines.push("the slowest tests:".to_owned());
    lines.extend(
        tests.iter().take(SLOWEST_TESTS_COUNT).map(|test| format!("{:>9.1}  {}", test.elapsed, test.name)),
    );
    let failed = junit.matches("<failure").count() + junit.matches("<error").count();
    lines.push(format!("{} passed, {failed} failed", tests.len().saturating_sub(failed)));
    lines.join("\n") + "\n"
}

impl StageTime {
    fn append(&self, file: &Path) -> Result<()> {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
        Ok(writeln!(file, "{:.1} {:.1} {}", self.elapsed, self.processor, self.name)?)
    }

    fn parse(line: &str) -> Result<Self> {
        let stage = || {
            let (elapsed, rest) = line.split_once(' ')?;
            let (processor, name) = rest.split_once(' ')?;
            Some(Self {
                name: name.to_owned(),
                elapsed: elapsed.parse().ok()?,
                processor: processor.parse().ok()?,
            })
        };
        stage().with_context(|| format!("'{line}' is no stage: SECONDS PROCESSOR-SECONDS NAME"))
    }
}

/// The tests of a JUnit report, as nextest writes it: one element a test, with its attributes in order.
fn test_times(junit: &str) -> Vec<TestTime> {
    let attribute = |element: &str, name: &str| {
        let (_, rest) = element.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let elements = junit.split("<testcase").skip(1).filter_map(|rest| rest.split('>').next());
    let test = |element: &str| {
        let name = format!("{} {}", attribute(element, "classname")?, attribute(element, "name")?);
        Some(TestTime { name, elapsed: attribute(element, "time")?.parse().ok()? })
    };
    elements.filter_map(test).collect()
}

/// What programs that this one waited for have computed.
fn processor_time_of_children() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: fills a structure of its own, which is valid with all zeros.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const JUNIT: &str = r#"<testsuites name="run" tests="2" failures="1" errors="0" time="9.1">
  <testsuite name="eyot-core" tests="2">
    <testcase name="a::quick" classname="eyot-core" timestamp="2026-11-30T00:00:00+00:00" time="0.250">
    </testcase>
    <testcase name="b::slow" classname="eyot-core" timestamp="2026-11-30T00:00:00+00:00" time="7.500">
      <failure message="no &gt; yes"/>
    </testcase>"#;

    #[test]
    fn gates_are_added_up_and_stages_inside_of_them_are_not() {
        let stages =
            ["60.0 70.5 cargo xtask tidy", "4000.0 4900.0 cargo xtask test", "3000.0 4000.0   compile"];
        let stages: Vec<StageTime> = stages.iter().map(|line| StageTime::parse(line).unwrap()).collect();
        assert_eq!(stages[2], StageTime { name: "  compile".to_owned(), elapsed: 3000.0, processor: 4000.0 });
        let printed = rendered(&stages, JUNIT);
        assert!(printed.contains("     4060         4970  in all, over the budget"), "{printed}");
        assert!(rendered(&stages[..1], JUNIT).contains("in all, within the budget"));
        assert!(
            printed.ends_with(
                "      7.5  eyot-core b::slow\n      0.2  eyot-core a::quick\n1 passed, 1 failed\n"
            )
        );
    }

    #[test]
    fn a_line_that_is_no_stage_is_an_error_that_quotes_it() {
        assert!(StageTime::parse("60 tidy").unwrap_err().to_string().contains("'60 tidy'"));
    }
}
