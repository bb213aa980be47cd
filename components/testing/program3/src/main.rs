//! A program of WASI 0.3, beside what a compiler of WASI 0.2 makes of `main`: it exports `wasi:cli/run` twice.

struct Program;

wasip3::cli::command::export!(Program);

impl wasip3::exports::cli::run::Guest for Program {
    async fn run() -> Result<(), ()> {
        let args: Vec<String> = std::env::args().collect();
        println!("{}", args.join(" "));
        match args.get(1).map(String::as_str) {
            Some("fail") => Err(()),
            _ => Ok(()),
        }
    }
}

fn main() {
    unreachable!("the program is run through WASI 0.3");
}
