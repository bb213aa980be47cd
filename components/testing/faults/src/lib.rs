//! Ways for a step to go wrong.

#[eyot_guest::component]
mod steps {
    use eyot_guest::{Error, Result};

    /// Panics with a message.
    pub fn panic(message: String) {
        panic!("{message}");
    }

    /// Computes without end.
    pub fn spin() {
        let mut number = 0_u64;
        loop {
            number = std::hint::black_box(number.wrapping_add(1));
        }
    }

    /// Takes memory without end.
    pub fn exhaust() -> u64 {
        let mut blocks = Vec::new();
        loop {
            blocks.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }

    /// Gets over a lack of memory, and goes wrong later.
    pub fn recover() {
        let mut block = Vec::<u8>::new();
        assert!(block.try_reserve_exact(1 << 30).is_err(), "it got a gigabyte");
        panic!("the answer is missing");
    }

    /// Ends the program.
    pub fn exit(status: u8) {
        std::process::exit(i32::from(status));
    }

    /// Answers with an error.
    pub fn fail(message: String) -> Result<()> {
        Err(Error::invalid(message))
    }
}
