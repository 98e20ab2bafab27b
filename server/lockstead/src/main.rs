//! The `lockstead` command.

fn main() -> std::process::ExitCode {
    lockstead::cli::main()
}
