//! A command on `wasi:filesystem@0.2`. It records all that it can see of its files, or leaves more than it may.

use std::fmt::Write as _;
use std::fs;

use wasip2::clocks::wall_clock::Datetime;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, NewTimestamp, OpenFlags, PathFlags,
};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mode = std::env::args().nth(2).unwrap_or_default();
    match mode.as_str() {
        "record" => record(),
        "fill" => fill(),
        "sparse" => Ok(fs::File::create("/out/sparse")?.set_len(1 << 40)?),
        "many" => many(),
        "again" => again(),
        other => Err(format!("'{other}' is nothing to do").into()),
    }
}

fn record() -> Outcome {
    let out = folder("/out")?;
    fs::write("/out/b", "bb")?;
    fs::write("/out/a", "a")?;
    fs::create_dir("/out/dir")?;
    fs::write("/out/dir/z", "zzz")?;
    fs::write("/out/dir/x", "x")?;
    fs::hard_link("/out/dir/x", "/out/dir/y")?;
    out.symlink_at("a", "link").map_err(|code| code.to_string())?;
    // The first file's inode may be the next one's.
    fs::remove_file("/out/b")?;
    fs::write("/out/c", "ccc")?;
    fs::rename("/out/c", "/out/d")?;
    let time = Datetime { seconds: 1_000_000_000, nanoseconds: 5 };
    let set = |name: &str, modified| out.set_times_at(PathFlags::empty(), name, NewTimestamp::Now, modified);
    set("a", NewTimestamp::Timestamp(time)).map_err(|code| code.to_string())?;
    set("d", NewTimestamp::Timestamp(time)).map_err(|code| code.to_string())?;
    // It has been changed since.
    fs::write("/out/d", "dddd")?;
    let mut lines = String::new();
    for root in ["/in", "/out"] {
        list(&mut lines, root, "", &folder(root)?)?;
    }
    Ok(fs::write("/out/record.txt", lines)?)
}

/// What is below a folder, in the order in which it is listed.
fn list(lines: &mut String, root: &str, below: &str, folder: &Descriptor) -> Outcome {
    let entries = folder.read_directory()?;
    while let Some(entry) = entries.read_directory_entry()? {
        let path = format!("{below}{}", entry.name);
        let all = self::folder(root)?;
        let stat = all.stat_at(PathFlags::empty(), &path)?;
        let hash = all.metadata_hash_at(PathFlags::empty(), &path)?;
        writeln!(lines, "{root}/{path} {} {:?}", line(&stat), hash.lower)?;
        if path == "dir" {
            let inner =
                all.open_at(PathFlags::empty(), &path, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
            list(lines, root, "dir/", &inner)?;
        }
    }
    Ok(())
}

fn line(stat: &DescriptorStat) -> String {
    let time = |time: Option<Datetime>| {
        time.map_or(0, |time| time.seconds * 1_000_000_000 + u64::from(time.nanoseconds))
    };
    format!(
        "links={} size={} accessed={} modified={} changed={}",
        stat.link_count,
        stat.size,
        time(stat.data_access_timestamp),
        time(stat.data_modification_timestamp),
        time(stat.status_change_timestamp)
    )
}

fn folder(name: &str) -> Outcome<Descriptor> {
    let found = get_directories().into_iter().find(|(_, path)| path == name);
    found.map(|(folder, _)| folder).ok_or_else(|| format!("there is no {name}").into())
}

/// Writes for as long as there is room, and is content with that.
fn fill() -> Outcome {
    let mut file = fs::File::create("/out/full")?;
    let piece = vec![7; 1 << 16];
    let refused = loop {
        if let Err(error) = std::io::Write::write_all(&mut file, &piece) {
            break error;
        }
    };
    println!("{refused}");
    Ok(())
}

fn many() -> Outcome {
    for number in 0.. {
        fs::write(format!("/out/{number}"), "")?;
    }
    Ok(())
}

/// Writes, takes back and writes again: never more at once than it may.
fn again() -> Outcome {
    let piece = vec![7; 700_000];
    for round in 0..10 {
        let name = format!("/out/{}", round % 2);
        fs::write(&name, &piece)?;
        match round % 3 {
            0 => fs::remove_file(&name)?,
            1 => fs::OpenOptions::new().write(true).open(&name)?.set_len(0)?,
            _ => {
                fs::write("/out/small", "")?;
                fs::rename("/out/small", &name)?;
            }
        }
    }
    Ok(fs::write("/out/whole", &piece)?)
}
