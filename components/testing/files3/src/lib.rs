//! A command on `wasi:filesystem@0.3`. It records all that it can see of its files, or leaves more than it may.

#[cfg(target_family = "wasm")]
mod command {
    use wasip3::cli::environment::get_arguments;
    use wasip3::filesystem::preopens::get_directories;
    use wasip3::filesystem::types::{
        Descriptor, DescriptorFlags, DescriptorStat, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
    };

    struct Command;

    wasip3::cli::command::export!(Command);

    impl wasip3::exports::cli::run::Guest for Command {
        async fn run() -> Result<(), ()> {
            let done = match get_arguments().get(2).map(String::as_str) {
                Some("record") => record().await,
                Some("fill") => fill().await,
                _ => return Err(()),
            };
            done.map_err(drop)
        }
    }

    async fn record() -> Result<(), ErrorCode> {
        let out = folder("/out")?;
        for name in ["b", "a"] {
            write(&out, name, name.as_bytes()).await?;
        }
        out.create_directory_at("dir".to_owned()).await?;
        out.symlink_at("a".to_owned(), "link".to_owned()).await?;
        out.unlink_file_at("b".to_owned()).await?;
        write(&out, "c", b"ccc").await?;
        out.rename_at("c".to_owned(), &out, "d".to_owned()).await?;
        let mut lines = String::new();
        for root in ["/in", "/out"] {
            let folder = folder(root)?;
            let (mut entries, end) = folder.read_directory();
            while let Some(entry) = entries.next().await {
                let stat = folder.stat_at(PathFlags::empty(), entry.name.clone()).await?;
                let hash = folder.metadata_hash_at(PathFlags::empty(), entry.name.clone()).await?;
                lines.push_str(&format!("{root}/{} {} {}\n", entry.name, line(&stat), hash.lower));
            }
            end.await?;
        }
        write(&out, "record.txt", lines.as_bytes()).await
    }

    fn line(stat: &DescriptorStat) -> String {
        let time = |time: Option<wasip3::clocks::system_clock::Instant>| {
            time.map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanoseconds))
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

    fn folder(name: &str) -> Result<Descriptor, ErrorCode> {
        let found = get_directories().into_iter().find(|(_, path)| path == name);
        found.map(|(folder, _)| folder).ok_or(ErrorCode::NoEntry)
    }

    async fn write(folder: &Descriptor, name: &str, bytes: &[u8]) -> Result<(), ErrorCode> {
        let (how, flags) = (OpenFlags::CREATE, DescriptorFlags::WRITE);
        let file = folder.open_at(PathFlags::empty(), name.to_owned(), how, flags).await?;
        let (mut writer, reader) = wasip3::wit_stream::new();
        let end = file.append_via_stream(reader);
        writer.write_all(bytes.to_vec()).await;
        drop(writer);
        end.await?;
        // It counts as touched now, whatever the host's clock says.
        file.set_times(NewTimestamp::Now, NewTimestamp::NoChange).await
    }

    /// Writes for as long as there is room, and is content with that.
    async fn fill() -> Result<(), ErrorCode> {
        let out = folder("/out")?;
        let (how, flags) = (OpenFlags::CREATE, DescriptorFlags::WRITE);
        let file = out.open_at(PathFlags::empty(), "full".to_owned(), how, flags).await?;
        let (mut writer, reader) = wasip3::wit_stream::new();
        let end = file.write_via_stream(reader, 0);
        while writer.write_all(vec![7; 1 << 16]).await.is_empty() {}
        drop(writer);
        match end.await {
            Err(ErrorCode::InsufficientSpace) => Ok(()),
            other => other.and(Err(ErrorCode::Io)),
        }
    }
}
