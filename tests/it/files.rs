//! What a program that runs as a step sees of its files, and what it may leave.

use crate::world::{World, step, text};

const EPOCH: u64 = 946_684_800_000_000_000;

/// Runs a program that is a step; answers its record, as it was stored.
fn record(component: &str) -> Option<(World, String)> {
    let world = World::new();
    world.push(component).then(|| ran(world, component))
}

fn ran(world: World, component: &str) -> (World, String) {
    world.write("rows.csv", "name,age\n");
    let source = pipeline(component, "record");
    let run = world.eyot.json(&["run", &world.write("pipeline.toml", source)]).unwrap();
    let digest =
        step(&run, "one")["outputs"]["record"].as_str().unwrap_or_else(|| panic!("{run:#}")).to_owned();
    let blob = world.eyot.data().join("registry/blobs/sha256").join(digest.trim_start_matches("sha256:"));
    (world, std::fs::read_to_string(blob).unwrap())
}

fn pipeline(component: &str, mode: &str) -> String {
    format!(
        "[pipeline]\nname = \"files\"\n[inputs]\nfile = {{ path = \"rows.csv\", media-type = \"text/csv\" }}\n\
         [steps.one]\ncomponent = \"{component}:0.1.0\"\nwith = {{ mode = \"{mode}\", file = {{ input = 'file' }} }}\n\
         outputs = {{ record = {{ path = 'record.txt', media-type = 'text/plain' }} }}\n"
    )
}

/// A line of what a program records.
fn line(path: &str, links: u64, size: u64, modified: u64) -> String {
    format!("{path} links={links} size={size} accessed={EPOCH} modified={modified} changed={EPOCH}")
}

#[test]
fn a_program_records_the_same_of_its_files_every_time() {
    let Some(((_, first), (_, second))) = record("testing-files").zip(record("testing-files")) else {
        return;
    };
    assert_eq!(first, second);
    let set = 1_000_000_000_000_000_005;
    // Sorted by name; what was set stays until it is written again.
    let expected = [
        line("/in/file", 1, 9, EPOCH),
        line("/out/a", 1, 1, set),
        line("/out/d", 1, 4, EPOCH),
        line("/out/dir", 1, 0, EPOCH),
        line("/out/dir/x", 2, 1, EPOCH),
        line("/out/dir/y", 2, 1, EPOCH),
        line("/out/dir/z", 1, 3, EPOCH),
        line("/out/link", 1, 1, EPOCH),
    ];
    let shown: Vec<_> = first.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(shown, expected, "{first}");
    let number = |path: &str| {
        let line = first.lines().find(|line| line.starts_with(&format!("{path} "))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert_eq!(number("/out/dir/x"), number("/out/dir/y"), "two names of one file");
    let mut all: Vec<_> =
        ["/in/file", "/out/a", "/out/d", "/out/dir", "/out/dir/x", "/out/dir/z", "/out/link"]
            .map(number)
            .into();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 7, "different files have different numbers: {first}");
}

#[test]
fn a_program_of_wasi_0_3_records_the_same_of_its_files_every_time() {
    let Some(((_, first), (_, second))) = record("testing-files3").zip(record("testing-files3")) else {
        return;
    };
    assert_eq!(first, second);
    for (path, size) in [("/in/file", 9), ("/out/a", 1), ("/out/d", 3), ("/out/dir", 0), ("/out/link", 1)] {
        let start = format!("{path} links=1 size={size} accessed={EPOCH} modified={EPOCH} changed={EPOCH} ");
        assert!(first.lines().any(|line| line.starts_with(&start)), "{path}: {first}");
    }
    assert_eq!(first.lines().count(), 5, "{first}");
}

/// What tar and zip read of a file, through the module of preview 1 that zig's clang makes.
const IN_C: &str = r#"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void touch(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file || fputs(path, file) < 0 || fclose(file)) exit(2);
}

int main(void) {
    touch("/out/z"); touch("/out/b"); touch("/out/k"); touch("/out/a");
    if (remove("/out/k")) return 3;
    touch("/out/j");
    FILE *record = fopen("/out/record.txt", "w");
    DIR *folder = opendir("/out");
    if (!record || !folder) return 4;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[300];
        struct stat stat_;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/out/%s", entry->d_name);
        if (stat(path, &stat_)) return 5;
        fprintf(record, "%s %llu %llu %llu.%09ld %lld\n", entry->d_name, (unsigned long long)entry->d_ino,
            (unsigned long long)stat_.st_ino, (unsigned long long)stat_.st_mtim.tv_sec, stat_.st_mtim.tv_nsec,
            (long long)stat_.st_size);
    }
    return fclose(record) ? 6 : 0;
}
"#;

#[test]
fn a_module_of_preview_1_records_the_same_of_its_files_every_time() {
    let records = [0, 1].map(|_| {
        let world = World::new();
        let dir = world.dir.path().join("recorder");
        std::fs::create_dir(&dir).unwrap();
        let manifest = "[component]\nname = \"recorder\"\nversion = \"0.1.0\"\nlanguage = \"c\"\n";
        std::fs::write(dir.join("eyot.toml"), manifest).unwrap();
        std::fs::write(dir.join("main.c"), IN_C).unwrap();
        world.eyot.json(&["build", text(&dir)]).unwrap();
        world.eyot.json(&["push", text(&dir)]).unwrap();
        ran(world, "recorder").1
    });
    assert_eq!(records[0], records[1]);
    let fields: Vec<Vec<&str>> = records[0].lines().map(|line| line.split(' ').collect()).collect();
    let names: Vec<_> = fields.iter().map(|fields| fields[0]).collect();
    assert_eq!(names, ["a", "b", "j", "record.txt", "z"], "{}", records[0]);
    for one in &fields {
        assert_eq!((one[1], one[3]), (one[2], "946684800.000000000"), "{}", records[0]);
    }
}

#[test]
fn what_a_program_leaves_is_bounded_while_it_writes() {
    for (component, mode, says) in [
        ("testing-files", "fill", "the step writes more than the 1 MiB that it may leave"),
        ("testing-files", "sparse", "the step writes more than the 1 MiB that it may leave"),
        ("testing-files", "many", "the step makes more than the 20 files that it may leave"),
        ("testing-files3", "fill", "the step writes more than the 1 MiB that it may leave"),
    ] {
        let world = World::new();
        if !world.push(component) {
            return;
        }
        world.write("rows.csv", "name,age\n");
        let file = world.write("pipeline.toml", pipeline(component, mode));
        let limits = ["--set", "steps.output=1 MiB", "--set", "steps.output-files=20"];
        let refused = world.eyot.refused(&[&["run", &file], &limits[..]].concat()).unwrap();
        assert!(refused.message.contains(says), "{component} {mode}: {}", refused.message);
    }
}

#[test]
fn what_a_program_took_back_is_not_counted() {
    let world = World::new();
    if !world.push("testing-files") {
        return;
    }
    world.write("rows.csv", "name,age\n");
    let source = pipeline("testing-files", "again").replace("record.txt", "whole");
    let file = world.write("pipeline.toml", source);
    let limits = ["--set", "steps.output=2 MiB", "--set", "steps.output-files=4"];
    let run = world.eyot.json(&[&["run", &file], &limits[..]].concat()).unwrap();
    assert_eq!(step(&run, "one")["status"], "succeeded", "{run:#}");
}

#[test]
fn what_a_function_writes_into_artifacts_is_bounded() {
    let world = World::new();
    if !world.push("testing-echo") {
        return;
    }
    world.write("blob.bin", vec![7; 100_000]);
    let source = "[pipeline]\nname = \"copies\"\n[inputs]\nblob = { path = \"blob.bin\", media-type = \"application/x-blob\" }\n\
        [steps.copy]\ncomponent = \"testing-echo:0.1.0\"\ncall = \"copy\"\nwith = { file = { input = 'blob' }, times = 3 }\n";
    let file = world.write("pipeline.toml", source);
    let refused = world.eyot.refused(&["run", &file, "--set", "steps.output=299999 B"]).unwrap();
    assert!(refused.message.contains("that it may leave"), "{}", refused.message);
    let run = world.eyot.json(&["run", &file, "--set", "steps.output=300000 B"]).unwrap();
    assert_eq!(step(&run, "copy")["status"], "succeeded", "{run:#}");
}

#[test]
fn equal_bytes_of_two_types_are_two_artifacts() {
    let world = World::new();
    if !world.push("testing-echo") {
        return;
    }
    world.write("same.txt", "{}");
    for [left, right] in [["text/csv", "application/json"], ["application/json", "text/csv"]] {
        let source = format!(
            "[pipeline]\nname = \"types\"\n[inputs]\nleft = {{ path = \"same.txt\", media-type = \"{left}\" }}\n\
            right = {{ path = \"same.txt\", media-type = \"{right}\" }}\n\
            [steps.given]\ncomponent = \"testing-echo:0.1.0\"\ncall = \"types\"\n\
            with = {{ left = {{ input = 'left' }}, right = {{ input = 'right' }} }}\n\
            [steps.swap]\ncomponent = \"testing-echo:0.1.0\"\n\
            with = {{ left = {{ input = 'left' }}, right = {{ input = 'right' }} }}\n\
            [steps.swapped]\ncomponent = \"testing-echo:0.1.0\"\ncall = \"types\"\n\
            with = {{ left = {{ from = 'swap.left' }}, right = {{ from = 'swap.right' }} }}\n"
        );
        let file = world.write("pipeline.toml", source);
        let run = world.eyot.json(&["run", &file]).unwrap();
        assert_eq!(step(&run, "given")["outputs"]["output"], format!("{left} {right}"), "{run:#}");
        assert_eq!(step(&run, "swapped")["outputs"]["output"], format!("{right} {left}"), "{run:#}");
    }
}
