//! Debian's docker-registry, started as Debian would: files on disk, descriptors cached in memory.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use eyot_tests::program;

pub(crate) struct Docker {
    child: Child,
    pub(crate) address: String,
}

impl Docker {
    /// Over a folder of its own.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let binary = program("docker-registry").context("there is nothing to compare with")?;
        // It does not say which port it took, so it is told one that is free now.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = dir.join("docker");
        std::fs::create_dir_all(&data)?;
        let config = dir.join("docker.yml");
        let storage = "storage: { cache: { blobdescriptor: inmemory }, delete: { enabled: true }";
        let settings = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             {storage}, filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: {address} }}\n",
            data.display()
        );
        std::fs::write(&config, settings)?;
        let mut command = Command::new(binary);
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let mut docker = Self { child: command.spawn()?, address };
        while TcpStream::connect(&docker.address).is_err() {
            let ended = docker.child.try_wait()?;
            ensure!(ended.is_none(), "docker-registry ended with {ended:?}");
            std::thread::yield_now();
        }
        Ok(docker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
