//! Commands on a machine that reaches others by a proxy alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;

use crate::world::World;

/// A proxy that brings every request to one server, one after the other, and tells their first lines.
fn proxy_to(server: &str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, seen) = mpsc::channel();
    let server = server.trim_start_matches("http://").to_owned();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            if forward(client.unwrap(), &server, &told).is_none() {
                return;
            }
        }
    });
    (url, seen)
}

fn forward(mut client: TcpStream, server: &str, told: &mpsc::Sender<String>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    told.send(line.to_owned()).ok()?;
    let line = line.replace("http://eyot.example", "");
    let mut server = TcpStream::connect(server).ok()?;
    write!(server, "{line}\r\nconnection: close\r\n{headers}").ok()?;
    std::io::copy(&mut server, &mut client).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

#[test]
fn commands_go_by_the_proxy_of_the_environment_but_not_to_this_machine() {
    let world = World::new();
    let server = world.eyot.up_with(&["api.hosts=eyot.example"]).unwrap();
    let (proxy, seen) = proxy_to(&server.api);
    let list = |variables: &[(&str, &str)], server: &str| {
        let mut command = world.eyot.command(&["ls", "--json", "--server", server]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = list(&[("HTTP_PROXY", &proxy)], "http://eyot.example");
    assert!(done, "{said}");
    let asked: Vec<String> = seen.try_iter().collect();
    let whole = |line: &String| line.starts_with("GET http://eyot.example/") && line.ends_with(" HTTP/1.1");
    assert!(!asked.is_empty() && asked.iter().all(whole), "{asked:?}");
    let (done, said) = list(&[("http_proxy", &proxy), ("HTTPS_PROXY", &proxy)], &server.api);
    assert!(done && seen.try_recv().is_err(), "this machine is asked without: {said}");
    let excepting = [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "eyot.example")];
    let (done, said) = list(&excepting, "http://eyot.example");
    assert!(!done && said.contains("http://eyot.example does not answer"), "{said}");
    assert!(seen.try_recv().is_err());
    server.stop().unwrap();
}
