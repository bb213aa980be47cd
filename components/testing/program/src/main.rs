//! A plain program: does what its first argument says with what it is given.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().collect();
    let rest = args.get(2..).unwrap_or_default();
    match args.get(1).map(String::as_str) {
        Some("say") => say(&args),
        Some("echo") => echo(),
        Some("exit") => std::process::exit(rest.first().map_or(Ok(0), |code| code.parse())?),
        Some("panic") => panic!("it was told to"),
        Some("time") => {
            println!("{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
            Ok(())
        }
        Some("copy") => {
            let [from, to] = rest else { return Err("copy FROM TO".into()) };
            std::fs::copy(from, to)?;
            Ok(())
        }
        Some("remove") => {
            let [folder] = rest else { return Err("remove FOLDER".into()) };
            Ok(std::fs::remove_dir(folder)?)
        }
        Some("serve") => serve(),
        other => Err(format!("{other:?} is nothing to do").into()),
    }
}

/// Its arguments and its environment.
fn say(args: &[String]) -> Outcome {
    println!("{}", args.join(" "));
    for (name, value) in std::env::vars() {
        println!("{name}={value}");
    }
    Ok(())
}

/// What comes in goes out, twice.
fn echo() -> Outcome {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    print!("{text}");
    eprint!("{text}");
    Ok(())
}

/// Answers one connection with what it sent.
fn serve() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer)?;
    Ok(stream.write_all(&buffer[..count])?)
}
