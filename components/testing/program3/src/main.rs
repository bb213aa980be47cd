//! A program of WASI 0.3, beside what a compiler of WASI 0.2 makes of `main`: it exports `wasi:cli/run` twice.

use wasip3::filesystem::preopens::get_directories;

struct Program;

wasip3::cli::command::export!(Program);

impl wasip3::exports::cli::run::Guest for Program {
    async fn run() -> Result<(), ()> {
        let args: Vec<String> = std::env::args().collect();
        println!("{}", args.join(" "));
        match (args.get(1).map(String::as_str), args.get(2)) {
            (Some("fail"), _) => Err(()),
            (Some("remove"), Some(path)) => remove(path.clone()).await,
            _ => Ok(()),
        }
    }
}

/// Removes a folder of the one that it was given.
async fn remove(path: String) -> Result<(), ()> {
    let given = get_directories();
    let Some((folder, _)) = given.first() else { return Err(()) };
    folder.remove_directory_at(path).await.map_err(|error| println!("{error:?}"))
}

fn main() {
    unreachable!("the program is run through WASI 0.3");
}
