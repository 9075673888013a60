//! Judges the directory of a run: `cargo run --example checker -- DIRECTORY`. A line an invariant; exits 1
//! when one is violated, 2 when the history is too empty to tell.

#![allow(unreachable_pub, reason = "shared with the tests")]

#[path = "mod.rs"]
mod checker;

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        println!("usage: checker DIRECTORY");
        return ExitCode::from(2);
    };
    let judgement = checker::judge_directory(directory.as_ref());
    print!("{judgement}");
    ExitCode::from(judgement.exit_code())
}
